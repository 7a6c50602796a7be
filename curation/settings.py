"""Django's settings. They come from the environment alone; README.md has the table."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import environ
from celery.schedules import schedule

from . import embedded, environment, logs

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

# What the environment says

DEBUG = env.bool("DEBUG", default=False)
DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var"))).expanduser().resolve()
PORT = env.int("PORT", default=8000)
DEMO = env.bool("DEMO", default=True)
HTTPS = env.bool("HTTPS", default=False)  # a proxy in front of us speaks https and sets X-Forwarded-Proto
DATABASE_URL = env.str("DATABASE_URL", default="") or embedded.urls(DATA_DIR).database
REDIS_URL = env.str("REDIS_URL", default="") or embedded.urls(DATA_DIR).redis
IS_DATABASE_EMBEDDED = not env.str("DATABASE_URL", default="")
IS_BROKER_EMBEDDED = not env.str("REDIS_URL", default="")
MEDIA_STORAGE_URL = env.str("MEDIA_STORAGE_URL", default="") or (DATA_DIR / "media").as_uri()
IMPORT_ROOTS = environment.import_roots(env.str("IMPORT_ROOTS", default=""))
ENCODERS_DIR = Path(env.str("ENCODERS_DIR", default=str(DATA_DIR / "encoders"))).expanduser().resolve()
ENCODER_RUNTIME = environment.encoder_runtime(env.str("ENCODER_RUNTIME", default=""))
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
SUPERUSER_USERNAME = env.str("DJANGO_SUPERUSER_USERNAME", default="admin")
SUPERUSER_PASSWORD = env.str("DJANGO_SUPERUSER_PASSWORD", default="")
# Given by `manage.py up` to the web process of one run: opens /login/<token>/.
LOGIN_TOKEN = env.str("LOGIN_TOKEN", default="")
SECRET_KEY = environment.secret_key(
    env.str("SECRET_KEY", default=""), data_dir=DATA_DIR, is_embedded=IS_DATABASE_EMBEDDED, debug=DEBUG
)

for _folder in ("tmp", "run"):
    (DATA_DIR / _folder).mkdir(parents=True, exist_ok=True)

# The application

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "datasets",
    "search",
    "curation",
]

MIDDLEWARE = [
    "curation.middleware.RequestLog",
    "django.middleware.security.SecurityMiddleware",
    "curation.middleware.ContentSecurityPolicy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

ROOT_URLCONF = "curation.urls"
WSGI_APPLICATION = "curation.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"

# Database, cache, files

_database = env.db_url_config(DATABASE_URL)
DATABASES = {
    "default": {
        **_database,
        "HOST": unquote(_database["HOST"]),  # the folder of a Unix socket is written %2Frun%2Fpostgresql
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
    }
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "kindred",
    }
}

STORAGES = {
    "default": environment.media_storage(MEDIA_STORAGE_URL),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
FRONTEND_DIST = BASE_DIR / "frontend" / "dist"
STATIC_URL = "/static/"
STATICFILES_DIRS = [FRONTEND_DIST] if FRONTEND_DIST.is_dir() else []
# Served from where they are installed: nothing to collect, nothing to forget, and the start stays quick.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_ALLOW_ALL_ORIGINS = False
# Vite puts a hash of the content into the names under assets/.
WHITENOISE_IMMUTABLE_FILE_TEST = r"^/static/assets/.+-[\w-]{8}\.\w+$"

FILE_UPLOAD_TEMP_DIR = DATA_DIR / "tmp"
FILE_UPLOAD_PERMISSIONS = 0o644
DATA_UPLOAD_MAX_NUMBER_FILES = 2000
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000  # a path beside each file
DATA_UPLOAD_MAX_MEMORY_SIZE = 32 << 20  # a selection by ids: a million of them; files are not counted

# Accounts and security

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "curation.frontend.csrf_failed"
CSRF_COOKIE_SECURE = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 30 * 24 * 3600 if HTTPS else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# REST API

REST_FRAMEWORK = {
    # The first one names the challenge: without it a stranger would get 403 instead of 401.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["datasets.api.rendering.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "datasets.api.paging.Pages",
    "DEFAULT_THROTTLE_RATES": {"login": "30/min"},
    "URL_FORMAT_OVERRIDE": None,  # `?format=` chooses what to export
    "EXCEPTION_HANDLER": "datasets.api.problems.exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Kindred",
    "DESCRIPTION": "Curate image and text datasets by likeness.",
    "VERSION": "1",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "OAS_VERSION": "3.1.0",
    # Fields called “state”, “kind” or “status” in several answers: each set of values has a name of its own.
    "ENUM_NAME_OVERRIDES": {
        "RoleEnum": "datasets.api.serializers.ROLE_NAMES",
        "ItemStateEnum": "datasets.api.serializers.ITEM_STATES",
        "SpaceStateEnum": "datasets.api.serializers.SPACE_STATES",
        "StatusEnum": "datasets.models.Status",
        "SourceEnum": "datasets.models.Source",
        "JobStateEnum": "datasets.models.Job.State",
        "JobKindEnum": "datasets.models.Job.Kind",
        "OperationKindEnum": "datasets.models.Operation.Kind",
        "RegionKindEnum": "datasets.models.RegionLayer.Kind",
        "SearchModeEnum": "search.api.serializers.SEARCH_MODES",
        "FindingKindEnum": "search.api.findings.FINDING_KINDS",
        "FindingStateEnum": "search.models.Finding.State",
        "RegionLayerStateEnum": "datasets.models.RegionLayer.State",
    },
}

# Background work. A job's state lives in the database; the broker only says that there is something to do.

CELERY_BROKER_URL = environment.broker_url(REDIS_URL)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A task that runs longer would be handed out twice; work lost with a killed machine is found by recovery before that.
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 6 * 3600}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_CREATE_MISSING_QUEUES = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
# Asked to stop (SIGQUIT), a worker gives its tasks so long, then puts them back into the queue.
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 4.0
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    name: {
        "task": task,
        "schedule": schedule(run_every=seconds),
        # Missed while all workers were busy: the next one does.
        "options": {"expires": seconds},
    }
    for name, task, seconds in (
        ("recover jobs", "datasets.tasks.recover_jobs", 10.0),
        ("recover embedding", "search.tasks.recover_embedding", 10.0),
        ("maintain indexes", "search.tasks.maintain_indexes", 15.0),
        ("purge deleted datasets", "datasets.tasks.purge_deleted_datasets", 600.0),
        ("forget old changes", "datasets.tasks.forget_old_changes", 600.0),
        ("forget changed vectors", "search.tasks.forget_changed_vectors", 3600.0),
    )
}

# Logs

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO").upper()
LOGGING = logs.configuration(LOG_LEVEL)

# Admin

UNFOLD = {
    "SITE_TITLE": "Kindred",
    "SITE_HEADER": "Kindred",
    "SITE_URL": "/",
    "SITE_SYMBOL": "grid_view",
    # The annotators' accent, from pale to dark.
    "COLORS": {
        "primary": {
            "50": "#f3f5ff", "100": "#e9eeff", "200": "#d0daff", "300": "#a9bbff", "400": "#7d97ff", "500": "#5573f2",
            "600": "#3557e6", "700": "#2443c4", "800": "#1f389e", "900": "#1f2950", "950": "#141b38",
        }
    },
}  # fmt: skip
