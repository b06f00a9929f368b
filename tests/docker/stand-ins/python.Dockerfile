# The Python of Debian 13, called as the official python:3.13-slim has it.
FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* && ln -s python3 /usr/bin/python
CMD ["python3"]
