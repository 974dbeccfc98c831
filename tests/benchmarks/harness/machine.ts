import { availableParallelism, cpus } from "node:os";
import { execute } from "../../support/connection.ts";
import type { BenchmarkServer } from "./database.ts";

/** The machine and the software that the figures were measured on. */
export interface Machine {
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly node: string;
  readonly postgres: string;
  /** The settings that decide whether a commit is durable. */
  readonly durability: string;
}

export async function describeMachine(server: BenchmarkServer): Promise<Machine> {
  const rows = await execute<{ name: string; setting: string }>(
    server.url,
    "SELECT name, setting FROM pg_settings WHERE name IN ('server_version', 'fsync', 'synchronous_commit')",
  );
  const settings = new Map(rows.map(({ name, setting }) => [name, setting]));
  return {
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    node: process.version,
    postgres: settings.get("server_version") ?? "unknown",
    durability: `fsync ${settings.get("fsync")}, synchronous_commit ${settings.get("synchronous_commit")}`,
  };
}
