# Builds for musl as the official rust:alpine does, with Debian's compiler and the standard library
# from its sources. All of that is in the image, so that a Dockerfile needs to know nothing of it.
FROM debian:sid-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends cargo cargo-cyclonedx gcc libc6-dev musl-tools rust-src rustc \
    && rm -rf /var/lib/apt/lists/*
# -lunwind is what Rust's standard library asks for on musl; gcc's own unwinder does it, with a function
# of glibc's that musl doesn't have.
COPY find-object.c /usr/local/lib/unwind/
RUN cd /usr/local/lib/unwind \
    && musl-gcc -O2 -c find-object.c \
    && cp "$(gcc -print-file-name=libgcc_eh.a)" libunwind.a && ar r libunwind.a find-object.o \
    && mkdir -p /usr/local/cargo && target="$(uname -m)-unknown-linux-musl" \
    && printf '%s\n' '[build]' "target = \"$target\"" '[unstable]' 'build-std = ["std", "panic_abort"]' \
        "[target.$target]" 'linker = "musl-gcc"' \
        'rustflags = ["-C", "target-feature=+crt-static", "-C", "link-self-contained=no", "-C", "relocation-model=static", "-L", "/usr/local/lib/unwind"]' \
        '[env]' 'TARGET_CC = "musl-gcc"' >/usr/local/cargo/config.toml \
    && printf '%s\n' '#!/bin/sh' "export CARGO_BUILD_TARGET=$target" 'exec /usr/bin/cargo "$@"' \
        >/usr/local/bin/cargo && chmod +x /usr/local/bin/cargo
# For another architecture, as the official image gets a compiler and a standard library.
COPY apk.sh /usr/local/bin/apk
COPY rustup.sh /usr/local/bin/rustup
ENV CARGO_HOME=/usr/local/cargo RUSTC_BOOTSTRAP=1
CMD ["bash"]
