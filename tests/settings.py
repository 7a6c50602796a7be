"""The product's settings, with what would only make the tests slow turned down."""

from curation.settings import *  # noqa: F403
from curation.settings import REST_FRAMEWORK

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
REST_FRAMEWORK = REST_FRAMEWORK | {"DEFAULT_THROTTLE_RATES": {"login": "10000/min"}}
