# The Go of Debian 13, called as the official golang:1 has it.
FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends golang-go \
    && rm -rf /var/lib/apt/lists/*
CMD ["bash"]
