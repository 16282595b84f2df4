// Starts what a conversation needs on this machine: the server on a simulated API, a host's page, and a browser.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const HERE = dirname(fileURLToPath(import.meta.url));
export const ROOT = join(HERE, "..", "..");
export const PICTURES = join(ROOT, "hailuo_mcp", "simulator", "pictures");
export const AXE = readFileSync(join(HERE, "node_modules", "axe-core", "axe.min.js"), "utf8");
const PATIENCE = 60_000; // ms, a busy machine's; nothing is measured with it
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".json": "application/json" };

/** The server over HTTP, on a simulated API whose videos take so many seconds. */
async function serve(seconds) {
  const home = mkdtempSync(join(tmpdir(), "hailuo-player-"));
  const python = process.env.HAILUO_TEST_PYTHON ?? join(ROOT, ".venv", "bin", "python");
  const child = spawn(python, [join(HERE, "server.py"), home, PICTURES, String(seconds)], { cwd: ROOT });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  process.on("exit", () => child.kill()); // whatever ends the tests
  let said = "";
  child.stderr.on("data", (piece) => { said += piece; });
  const url = await new Promise((resolve, reject) => {
    let line = "";
    child.stdout.on("data", (piece) => {
      line += piece;
      if (line.endsWith("\n")) resolve(new URL(line.match(/http:\S+/)[0]));
    });
    ended.then(() => reject(new Error(`The server ended: ${said}`)));
  });
  const stop = async () => {
    child.kill();
    await ended;
    rmSync(home, { recursive: true, force: true });
  };
  return { url, stop };
}

/** The Content-Security-Policy of the MCP Apps specification for a view that declares these domains. */
function policy({ resourceDomains = [], connectDomains = [] }) {
  const from = resourceDomains.join(" ");
  return [
    "default-src 'none'",
    `script-src 'self' 'unsafe-inline' ${from}`,
    `style-src 'self' 'unsafe-inline' ${from}`,
    `connect-src 'self' ${connectDomains.join(" ")}`,
    `img-src 'self' data: ${from}`,
    `font-src 'self' ${from}`,
    `media-src 'self' data: ${from}`,
    "frame-src 'none'; object-src 'none'; base-uri 'self'",
  ].join("; ");
}

/** The host's pages, and a way to the server on the same origin; `calls` are what the view asked of the server. */
async function hostPages(server) {
  const views = [];
  const calls = [];
  const pages = http.createServer((request, response) => {
    const { pathname, search, searchParams } = new URL(request.url, "http://127.0.0.1");
    if (pathname === "/mcp") return forward(request, response, server, searchParams.get("by") === "view" ? calls : []);
    if (pathname === "/view" && request.method === "POST") {
      return read(request).then((body) => response.end(String(views.push(JSON.parse(body)) - 1)));
    }
    if (pathname === "/view") {
      const { html, csp } = views[Number(search.slice(1))];
      response.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-security-policy": policy(csp) });
      return response.end(html);
    }
    try {
      const file = readFileSync(join(HERE, normalize(pathname)));
      response.writeHead(200, { "content-type": TYPES[extname(pathname)] ?? "application/octet-stream" });
      response.end(file);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => pages.listen(0, "127.0.0.1", resolve));
  const stop = () => new Promise((resolve) => { pages.close(resolve); pages.closeAllConnections(); });
  return { port: pages.address().port, calls, stop };
}

async function read(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function forward(request, response, server, calls) {
  const body = await read(request);
  if (body.length) {
    const message = JSON.parse(body);
    if (message.method === "tools/call") calls.push({ name: message.params.name, arguments: message.params.arguments });
  }
  const headers = { ...request.headers, host: server.host };
  delete headers.origin;
  const onward = http.request(server, { method: request.method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  onward.on("error", () => response.destroy());
  response.on("close", () => onward.destroy());
  onward.end(body);
}

/** A stage for tests: `page()` opens a host's page, with a view in it when `host.open` was called there. */
export async function stage(seconds = 1) {
  const server = await serve(seconds);
  const pages = await hostPages(server.url);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const page = async ({ width = 720, height = 900, clock = false, ...more } = {}) => {
    const context = await browser.newContext({ viewport: { width, height }, ...more });
    context.setDefaultTimeout(PATIENCE);
    const one = await context.newPage();
    const asked = [];
    one.on("request", (request) => asked.push(request.url()));
    if (clock) await one.clock.install();
    await one.goto(`http://127.0.0.1:${pages.port}/host.html`);
    await one.waitForSelector("body[data-ready]", { state: "attached" });
    pages.calls.length = 0;
    return Object.assign(one, { view: one.frameLocator("iframe"), calls: pages.calls, asked });
  };
  /** Close what earlier tests left open: a page with a video costs the next ones time. */
  const clear = () => Promise.all(browser.contexts().map((context) => context.close()));
  const stop = async () => {
    await browser.close();
    await pages.stop();
    await server.stop();
  };
  return { page, clear, stop };
}

export const REQUEST = {
  prompt: "[Push in] A dandelion in the evening light [Truck left, Pedestal up]; the seeds are about to fly.",
  first_frame_image: join(PICTURES, "dandelion_first.jpg"),
  last_frame_image: join(PICTURES, "dandelion_last.jpg"),
};
export const open = (page, name, args, how = {}) => page.evaluate(([n, a, h]) => host.open(n, a, h), [name, args, how]);
export const heard = (page) => page.evaluate(() => host.heard);
