import { randomBytes } from "node:crypto";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createConnection, createServer, type Server } from "node:net";
import path from "node:path";
import { text } from "node:stream/consumers";

// An advisory lock in the database shows that a service uses a data folder. The lock can be lost, because the server
// closes every connection when one of its processes is killed. Therefore the service also writes a record into the
// folder. The record names a port on the loopback interface, on which the service answers while it runs.

const fileName = "service";

/** The longest time to wait for an answer of a running service. */
const answerTimeoutMs = 1_000;

/** The record by which this process claims a data folder. */
export class ServiceRecord {
  readonly #server: Server;
  readonly #folder: string;
  readonly #name: string;

  private constructor(server: Server, folder: string, name: string) {
    this.#server = server;
    this.#folder = folder;
    this.#name = name;
  }

  static async open(folder: string): Promise<ServiceRecord> {
    const name = randomBytes(16).toString("hex");
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.end(name);
    });
    server.listen(0, "127.0.0.1");
    await new Promise((resolve, reject) => server.once("listening", resolve).once("error", reject));
    server.unref();
    return new ServiceRecord(server, folder, name);
  }

  /** Whether another running service uses the folder. */
  async isOtherAlive(): Promise<boolean> {
    const record = await readRecord(this.#folder);
    return record !== undefined && record.name !== this.#name && (await answers(record));
  }

  /** Writes the record into the folder, and replaces the record of an earlier service. */
  async write(): Promise<void> {
    // A TCP server's address is an object.
    const { port } = this.#server.address() as AddressInfo;
    const draft = path.join(this.#folder, `${fileName}.${this.#name}`);
    await writeFile(draft, JSON.stringify({ port, name: this.#name }), { flag: "wx", mode: 0o600 });
    await rename(draft, path.join(this.#folder, fileName));
  }

  /** Releases the folder. */
  async close(): Promise<void> {
    this.#server.close();
    const written = await readRecord(this.#folder);
    if (written?.name === this.#name) await rm(path.join(this.#folder, fileName), { force: true });
  }
}

/** Whether a running service uses the folder. */
export async function isServiceAlive(folder: string): Promise<boolean> {
  const record = await readRecord(folder);
  return record !== undefined && (await answers(record));
}

async function answers({ port, name }: Record): Promise<boolean> {
  const socket = createConnection(port, "127.0.0.1");
  const silent = new Promise<string>((resolve) => {
    socket.setTimeout(answerTimeoutMs, () => resolve(name));
  });
  try {
    // A listener that accepts the connection but does not answer counts as the service, which may be suspended.
    return (await Promise.race([text(socket), silent])) === name;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

interface Record {
  readonly port: number;
  readonly name: string;
}

async function readRecord(folder: string): Promise<Record | undefined> {
  try {
    const { port, name } = JSON.parse(await readFile(path.join(folder, fileName), "utf8"));
    return typeof port === "number" && typeof name === "string" ? { port, name } : undefined;
  } catch {
    return undefined;
  }
}
