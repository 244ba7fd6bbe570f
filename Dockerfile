# One process on a small image. Data lies in /data; `docker run … serve --emulator …` keeps nothing but its certificate.
FROM python:3.11-slim

WORKDIR /opt/fanway
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY app app
COPY fanout fanout
COPY migrations migrations
COPY clients/python clients/python
RUN pip install --no-cache-dir --no-deps --no-build-isolation . ./clients/python \
    && useradd --uid 10001 --user-group --no-create-home fanway \
    && install -d -o fanway -g fanway -m 700 /data

USER 10001:10001
VOLUME /data
EXPOSE 8480 8443
HEALTHCHECK --interval=10s --timeout=3s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8480/-/health/ready', timeout=2)"]
ENTRYPOINT ["fanway"]
CMD ["serve", "--listen", "0.0.0.0:8480", "--data", "/data"]
