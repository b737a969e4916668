# syntax=docker/dockerfile:1

FROM python:3.13-slim AS packages
RUN python -m venv /venv
COPY requirements.lock .
# Wheels only: the image has no compiler, and a source package would run code at build time.
RUN /venv/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements.lock

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin sexton
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    ENVIRONMENT=production \
    WORKERS=2 \
    BLOCKING_THREADS=8
WORKDIR /app
COPY --from=packages /venv /venv
# The server's own lines look like the application's: JSON on stderr, scrubbed.
COPY --chmod=644 <<'JSON' /etc/granian-logs.json
{
    "formatters": {"json": {"()": "config.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "loggers": {
        "_granian": {"handlers": ["stderr"], "level": "INFO", "propagate": false},
        "granian.access": {"handlers": [], "level": "INFO", "propagate": false}
    }
}
JSON
# A volume that is mounted here belongs to the user who writes to it.
RUN install -d -o sexton -g sexton -m 700 /ledger
COPY . .
# Production settings insist on these six; collecting files uses none of them.
RUN SECRET_KEY=build ALLOWED_HOSTS=build DATABASE_URL=sqlite:////tmp/build.sqlite3 \
    ERASURE_LEDGER=build RECEIPT_SIGNING_KEY=build EMAIL_URL=dummymail:// \
    python manage.py collectstatic --no-input
# The code stays root's: the service can read it and change nothing.
USER sexton
EXPOSE 8000
# The Host header must be one of ours, or the answer is 400.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", "import os, urllib.request as web; host = os.environ['ALLOWED_HOSTS'].split(',')[0].strip().lstrip('*.') or 'localhost'; web.urlopen(web.Request('http://127.0.0.1:8000/healthz', headers={'Host': host}), timeout=2)"]
# The shell replaces itself, so that the server is the process that gets the signals.
CMD ["sh", "-c", "exec granian --interface wsgi config.wsgi:application --host 0.0.0.0 --port 8000 --workers ${WORKERS} --blocking-threads ${BLOCKING_THREADS} --workers-kill-timeout 8 --no-ws --log-config /etc/granian-logs.json"]
