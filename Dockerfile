# The broker alone; docker-compose.yml puts PostgreSQL and Mosquitto beside it.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/jobbroker
COPY .ci/requirements.txt pins.txt
COPY pyproject.toml README.md ./
COPY schema schema
COPY handlers handlers
COPY broker broker
# The pins as a constraint: what a release was tested with, without what only its tests need.
RUN /opt/jobbroker/bin/python -m pip install --no-cache-dir --disable-pip-version-check --constraint pins.txt '.[console]'

FROM python:3.13-slim
# The same number as the account of eclipse-mosquitto: it reads the password file that is written here, and no other account
# needs to. The directories are made now so that volumes mounted on them begin with this owner.
RUN groupadd --gid 1883 jobbroker \
 && useradd --uid 1883 --gid 1883 --no-create-home --home-dir /var/lib/jobbroker --shell /usr/sbin/nologin jobbroker \
 && mkdir -p /var/lib/jobbroker /mosquitto/auth \
 && chown 1883:1883 /var/lib/jobbroker /mosquitto/auth \
 && chmod 700 /var/lib/jobbroker
COPY --from=build /opt/jobbroker /opt/jobbroker
ENV PATH=/opt/jobbroker/bin:$PATH \
    JOBBROKER_DATA_DIR=/var/lib/jobbroker \
    JOBBROKER_ACCESS_DIR=/mosquitto/auth \
    JOBBROKER_LOG_FORMAT=json
USER 1883:1883
WORKDIR /var/lib/jobbroker
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["jobbroker", "health"]
ENTRYPOINT ["jobbroker"]
CMD ["serve"]
