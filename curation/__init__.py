"""The project: settings, addresses, the Celery app, embedded services and `manage.py up`.

The Celery app is loaded by ``CurationConfig.ready`` and not from here: `curation.keep` runs beside every process of
ours and should cost nothing.
"""
