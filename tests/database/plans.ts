import type { ConnectionPool } from "../../src/database/pool.ts";
import { connectionPoolOver, createTestPool } from "../support/test-pool.ts";

/** How PostgreSQL read one of the tables. */
export interface TableScan {
  readonly table: string;
  /** The name of the index that it used; undefined if it read the whole table. */
  readonly index: string | undefined;
  /** The condition that it looked up in the index. */
  readonly condition: string;
  readonly wasRun: boolean;
}

/** A part of a plan, as EXPLAIN writes it. */
interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Index Name"?: string;
  readonly "Index Cond"?: string;
  readonly "Actual Loops": number;
  readonly Plans?: readonly PlanNode[];
}

/** The ways in which PostgreSQL can plan a prepared statement. */
export const planCacheModes = ["force_custom_plan", "force_generic_plan"] as const;

/**
 * Runs statements, and returns how PostgreSQL read the tables.
 *
 * @param run runs the statements in a pool whose connection explains each of them
 */
export async function scansOf(
  databaseUrl: string,
  planCacheMode: (typeof planCacheModes)[number],
  run: (pool: ConnectionPool) => Promise<unknown>,
): Promise<TableScan[]> {
  const settings = {
    plan_cache_mode: planCacheMode,
    session_preload_libraries: "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_level": "notice",
    "auto_explain.log_format": "json",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
  };
  const url = new URL(databaseUrl);
  const options = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`);
  url.searchParams.set("options", options.join(" "));
  const pool = createTestPool(url.href, 1);
  const scans: TableScan[] = [];
  pool.on("connect", (client) => {
    client.on("notice", ({ message = "" }) => scans.push(...tableScans(planIn(message))));
  });
  try {
    await run(connectionPoolOver(pool));
    return scans;
  } finally {
    await pool.end();
  }
}

function planIn(message: string): PlanNode {
  return JSON.parse(message.slice(message.indexOf("{"))).Plan;
}

function tableScans(node: PlanNode): TableScan[] {
  const below = (node.Plans ?? []).flatMap(tableScans);
  const table = node["Relation Name"];
  if (table === undefined || node["Node Type"] === "ModifyTable") return below;
  // In a bitmap scan, a child node names the index.
  const indexNode = [node, ...(node.Plans ?? [])].find((part) => part["Index Name"] !== undefined);
  const scan = {
    table,
    index: indexNode?.["Index Name"],
    condition: indexNode?.["Index Cond"] ?? "",
    wasRun: node["Actual Loops"] > 0,
  };
  return [scan, ...below];
}
