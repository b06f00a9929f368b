# Node and npm as the official node:22-slim has them, out of the npm registry.
FROM debian:bookworm-slim
COPY *.tgz /tmp/
RUN tar -x -z -C /usr/local -f /tmp/node-linux-*.tgz --strip-components=1 package/bin \
    && mkdir -p /usr/local/lib/node_modules/npm \
    && tar -x -z -C /usr/local/lib/node_modules/npm -f /tmp/npm-*.tgz --strip-components=1 \
    && ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
    && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx \
    && useradd --uid 1000 --user-group --create-home --shell /bin/bash node \
    && rm /tmp/*.tgz
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
CMD ["node"]
