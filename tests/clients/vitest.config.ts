import { defineConfig } from "vitest/config";

// `npm run test:clients`: what docs/clients.md says, done as it is written. It fetches packages.
export default defineConfig({
  test: {
    include: ["tests/clients/*.client.ts"],
    globalSetup: ["tests/support/database-server.ts"],
    testTimeout: 600_000,
    hookTimeout: 60_000,
  },
});
