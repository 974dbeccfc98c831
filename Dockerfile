# The service, with what it needs to run and nothing else: no development tools, and no embedded PostgreSQL, so that
# DATABASE_URL must be set.

FROM node:26-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional --no-audit --no-fund

FROM node:26-slim
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY package.json ./
COPY migrations migrations
COPY gen gen
COPY src src

# Not the loopback interface: calls come from outside of the container.
ENV HOST=0.0.0.0 PORT=8080
EXPOSE 8080

# The files belong to root: the service can read itself, and not change itself.
USER node

HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/readyz').then(({ ok }) => process.exit(ok ? 0 : 1))"]

# Node itself is process 1, so SIGTERM reaches it.
CMD ["node", "src/main.ts"]
