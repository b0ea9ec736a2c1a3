"""Where Celery has its logger of tasks: `scheduler.utils.log`."""
