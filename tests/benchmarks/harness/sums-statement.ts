import type pg from "pg";
import type { GetSummaryRequest } from "#gen/dailyaggregator/v1/summary_pb.js";
import { type ConnectionPool, createPool } from "../../../src/database/pool.ts";
import { query } from "../../../src/database/query.ts";
import { Calendars } from "../../../src/summaries/calendars.ts";
import { addUpStatement } from "../../../src/summaries/sql/add-up.ts";
import { spanOf } from "../../../src/summaries/summarize.ts";
import { maxPageSize, summaryRequest } from "../../../src/summaries/summary-request.ts";
import { wholePeriods } from "../../../src/summaries/whole-periods.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import type { BenchmarkDatabase } from "./database.ts";

/** Runs the statement of summaries over connections like those of the service, without the rest of the service. */
export class SumsStatements implements AsyncDisposable {
  readonly #pool: ConnectionPool;
  readonly #calendars = new Calendars();

  constructor({ url }: BenchmarkDatabase, size: number) {
    const limits = {
      purpose: "benchmark",
      size,
      maxWaiting: size,
      refusal: "the benchmark sends too many statements",
    };
    this.#pool = createPool(url, limits, createLog("error"));
  }

  /** Returns the statement that adds up the periods of a request. */
  async statementFor(message: GetSummaryRequest): Promise<pg.QueryConfig> {
    const pools = { small: this.#pool, large: this.#pool };
    const { signal } = new AbortController();
    const request = await wholePeriods(
      { pools, calendars: this.#calendars },
      summaryRequest(message),
      signal,
    );
    const { from, to } = spanOf(request);
    const range = { from, to: to + 2 * request.rules.unit.longestSeconds };
    const calendar = await this.#calendars.between(this.#pool, request.rules, range, signal);
    const parts = calendar.partsOf(calendar.positionAt(from), calendar.positionAt(to));
    return addUpStatement(message.userId, parts, maxPageSize);
  }

  async run(statement: pg.QueryConfig): Promise<void> {
    await query(this.#pool, statement);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.end();
  }
}
