import grpc from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";

// The rival of empty-call: a server of @grpc/grpc-js that has only grpc.health.v1.Health.

const server = new grpc.Server();
new HealthImplementation({ "": "SERVING" }).addToServer(server);
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port}` })}\n`);
});
process.on("SIGTERM", () => process.exit(0));
