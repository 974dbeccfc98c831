import { defineConfig } from "vitest/config";

// `npm run test:clients` follows the steps of docs/clients.md. It downloads packages.
export default defineConfig({
  test: {
    include: ["tests/clients/*.client.ts"],
    globalSetup: ["tests/support/database-server.ts"],
    testTimeout: 600_000,
    hookTimeout: 60_000,
  },
});
