import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "curation.settings")

application = get_wsgi_application()

from search.warming import load_encoders_later  # noqa: E402  (after Django is set up)

load_encoders_later()
