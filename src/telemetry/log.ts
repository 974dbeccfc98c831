import pino, { type Logger } from "pino";
import type { Config } from "../config.ts";

export type Log = Logger;

/** Logs JSON lines to standard output. */
export function createLog(level: Config["logLevel"]): Log {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime });
}
