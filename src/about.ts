import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";

/** The response to a GET of `/`. */
export const about = `Daily Aggregator: how many words a learner studied, per hour, day, week, month, quarter or year.
Its methods are at /${LearningLogService.typeName}/, over Connect, gRPC and gRPC-Web; server reflection lists them.
README.md shows how to call them, and docs/ has the rest. Health: /healthz and /readyz.`;
