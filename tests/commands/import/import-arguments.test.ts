import { expect, test } from "vitest";
import { readArguments } from "../../../src/commands/import/import-arguments.ts";

test("the arguments give the file, its size, the URL of the service and the timeout", async () => {
  expect(
    await readArguments(["package.json", "--url", "https://learning.example.com", "--timeout", "5"]),
  ).toEqual({
    file: "package.json",
    size: expect.any(Number),
    url: "https://learning.example.com",
    timeoutMs: 5000,
  });
  expect(await readArguments(["-"])).toEqual({
    file: "-",
    size: 0,
    url: "http://127.0.0.1:8080",
    timeoutMs: 60_000,
  });
});

test.for(["-h", "--help"])("%s asks for help, with or without a file", async (option) => {
  expect(await readArguments([option])).toBe("help");
  expect(await readArguments(["missing.csv", option])).toBe("help");
});

const aUrl = "--url must be a URL such as http://127.0.0.1:8080, not";
const seconds = "--timeout must be a whole number of seconds from 1 to 86400, not";

test.for([
  ["no arguments", [], /^usage: npm run import -- FILE/],
  ["two files", ["a.csv", "b.csv"], /^usage: npm run import -- FILE/],
  ["an unknown option", ["-", "--uri", "http://127.0.0.1:1"], /^Unknown option '--uri'.*\nusage: /],
  ["a folder", ["src"], "src is a folder, not a file"],
  ["a missing file", ["missing.csv"], /^ENOENT.*missing\.csv/],
  ["a URL without a scheme", ["-", "--url", "localhost:8080"], `${aUrl} localhost:8080`],
  ["an address instead of a URL", ["-", "--url", "127.0.0.1:8080"], `${aUrl} 127.0.0.1:8080`],
  ["a URL with an unsupported scheme", ["-", "--url", "ftp://127.0.0.1"], `${aUrl} ftp://127.0.0.1`],
  ["a timeout of 0", ["-", "--timeout", "0"], `${seconds} 0`],
  ["a timeout that is not a number", ["-", "--timeout", "1m"], `${seconds} 1m`],
] as const)("the import rejects %s, and names the reason", async ([, args, message]) => {
  await expect(readArguments(args)).rejects.toThrow(message);
});
