# The service, and only what it needs to run. The image has no development tools and no embedded PostgreSQL, so
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

# All interfaces, because calls come from outside the container.
ENV HOST=0.0.0.0 PORT=8080
EXPOSE 8080

# The files belong to root, so the service can read them and cannot change them.
USER node

HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/readyz').then(({ ok }) => process.exit(ok ? 0 : 1))"]

# Node is process 1, so it receives SIGTERM.
CMD ["node", "src/main.ts"]
