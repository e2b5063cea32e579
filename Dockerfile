# The binaries are static and `.ci/images` has built them, so no base image is pulled and nothing runs
# here: docker, podman and `buildah bud --isolation chroot` all build it, with the folder that `.ci/images` fills as
# the context.
#
# No shell, no package manager. Any user id may run it (OpenShift gives each namespace its own), always in group 0;
# nothing is written outside mounted volumes.

FROM scratch AS base
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV PATH=/usr/local/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:0
EXPOSE 8080
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="MUTT"

FROM base AS worker
COPY mutt /usr/local/bin/mutt
LABEL org.opencontainers.image.title="mutt-worker" \
      org.opencontainers.image.description="Ingestor, alerter, forwarder and web UI of MUTT, the event pipeline" \
      io.k8s.display-name="MUTT worker"
ENTRYPOINT ["/usr/local/bin/mutt"]

FROM base AS operator
COPY mutt-operator /usr/local/bin/mutt-operator
LABEL org.opencontainers.image.title="mutt-operator" \
      org.opencontainers.image.description="Runs MUTT pipelines on Kubernetes and serves their alert rules" \
      io.k8s.display-name="MUTT operator"
ENTRYPOINT ["/usr/local/bin/mutt-operator"]
