import pino, { type DestinationStream, type Logger } from "pino";
import type { Config } from "../config.ts";
import { describeError } from "./describe-error.ts";

export type Log = Logger;

/** Logs JSON lines, to standard output by default. */
export function createLog(level: Config["logLevel"], destination?: DestinationStream): Log {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: describeError },
  };
  return destination ? pino(options, destination) : pino(options);
}
