import { defineConfig } from "vitest/config";

// `npm run test:faults` runs the fault tests one after another, because they measure how long calls take.
export default defineConfig({
  test: {
    include: ["tests/faults/*.fault.ts"],
    globalSetup: ["tests/support/database-server.ts"],
    testTimeout: 180_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 15_000 } },
    fileParallelism: false,
    bail: 1,
  },
});
