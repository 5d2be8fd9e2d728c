# The image of `start --detach`: the static program and the roots of TLS, and nothing else to attack or to
# update. Nothing is built here: the context holds linux/amd64/kubectl-canary, linux/arm64/kubectl-canary and
# ca-certificates.crt, so that both architectures are made without emulation.
FROM scratch
ARG TARGETPLATFORM
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE /LICENSE
COPY ${TARGETPLATFORM}/kubectl-canary /usr/local/bin/kubectl-canary
ENV PATH=/usr/local/bin
# The same as in the Job's own securityContext.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/kubectl-canary"]
