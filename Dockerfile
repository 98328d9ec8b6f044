# An image with the static binary alone.
#
#     docker build -t tightfit .
#     docker run --rm --memory 64m -v "$PWD:/data" -w /data tightfit run model.pb --input photos/ --output scores.jsonl
#
# --memory of `docker run` limits the container, and --memory of `tightfit run` the process. Without the second, TightFit
# takes 80 % of the first, which it reads from the control group (version 1 or 2). The rest is for what the kernel counts
# besides: the page cache of the files that are read and written, page tables, sockets. When you set both, leave 10 % of
# the container's limit, and no less than 8 MiB, to the kernel.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /tightfit
COPY . .
RUN cargo build --release --locked -p tightfit-cli

FROM scratch
COPY --from=build /tightfit/target/release/tightfit /tightfit
# Standard input and downloads go through temporary files.
WORKDIR /tmp
ENTRYPOINT ["/tightfit"]
