import path from "node:path";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

// A process that watches a summary with grpc-js: `node watching-client.ts http://127.0.0.1:8080`. It prints a line for
// each message. On any input it exits, without cancelling the watch.

const definitions = protoLoader.loadSync("dailyaggregator/v1/learning_log_service.proto", {
  includeDirs: [path.join(import.meta.dirname, "../../proto")],
});
// proto-loader returns a service definition for the name of a service.
const service = definitions["dailyaggregator.v1.LearningLogService"] as grpc.ServiceDefinition;
const Client = grpc.makeGenericClientConstructor(service, "");
const client = new Client(new URL(process.argv[2] ?? "").host, grpc.credentials.createInsecure());
const seconds = Math.floor(Date.now() / 1000);
const watch = client.watchSummary?.({
  userId: `process ${process.pid}`,
  granularity: 2,
  from: { seconds: seconds - 86_400 },
  to: { seconds },
});
watch?.on("data", () => process.stdout.write("watching\n"));
process.stdin.once("data", () => process.exit());
