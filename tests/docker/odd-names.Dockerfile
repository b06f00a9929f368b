# Debian 13 whose name service has modules that a static glibc binary of another version dies of.
FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends libnss-mdns libnss-myhostname \
    && rm -rf /var/lib/apt/lists/* \
    && sed -i 's/^hosts:.*/hosts: mymachines mdns4_minimal myhostname resolve files dns/' /etc/nsswitch.conf
