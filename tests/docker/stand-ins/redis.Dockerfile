# Redis as the official redis:7 starts it: open to its network, as the user redis.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /data
RUN chown redis:redis .
USER redis
EXPOSE 6379
CMD ["redis-server", "--protected-mode", "no", "--save", ""]
