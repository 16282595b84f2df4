// The page of a host: the official AppBridge between a sandboxed view and a real server. Tests drive it by `host`.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { AppBridge, PostMessageTransport, getToolUiResourceUri, isToolVisibilityAppOnly } from "@modelcontextprotocol/ext-apps/app-bridge";

const VIEW = `http://localhost:${location.port}/view`; // another origin than this page's
const EVERYTHING = { serverTools: {}, openLinks: {}, downloadFile: {}, message: { text: {} }, updateModelContext: { text: {} } };
const APPS = { extensions: { "io.modelcontextprotocol/ui": { mimeTypes: ["text/html;profile=mcp-app"] } } };

async function connect(by) {
  const client = new Client({ name: "host", version: "1.0.0" }, { capabilities: APPS });
  await client.connect(new StreamableHTTPClientTransport(new URL(`/mcp?by=${by}`, location.href)));
  return client;
}

const [ours, theirs] = await Promise.all([connect("host"), connect("view")]);
const { tools } = await ours.listTools();
let bridge;

globalThis.host = {
  tools,
  heard: { message: [], openLink: [], downloadFile: [], context: [], sizes: [] },
  call: (name, args) => ours.callTool({ name, arguments: args }),

  /** Open the view of a tool, tell it the arguments, and what came of the call; `result` stands for a call made before. */
  async open(name, args, { can = EVERYTHING, context = {}, forbid = false, result, late } = {}) {
    const tool = tools.find((one) => one.name === name);
    const { contents } = await ours.readResource({ uri: getToolUiResourceUri(tool) });
    const csp = forbid ? {} : contents[0]._meta.ui.csp;
    const answer = await fetch("/view", { method: "POST", body: JSON.stringify({ html: contents[0].text, csp }) });
    const frame = document.createElement("iframe");
    frame.title = "View";
    frame.sandbox = "allow-scripts allow-same-origin";
    document.getElementById("place").replaceChildren(frame);
    bridge = new AppBridge(theirs, { name: "host", version: "1.0.0" }, can, {
      hostContext: { theme: "light", toolInfo: { tool }, ...context },
    });
    const { heard } = this;
    bridge.onmessage = async (params) => { heard.message.push(params); return {}; };
    bridge.onopenlink = async (params) => { heard.openLink.push(params); return {}; };
    bridge.ondownloadfile = async (params) => { heard.downloadFile.push(params); return {}; };
    bridge.onupdatemodelcontext = async (params) => { heard.context.push(params); return {}; };
    bridge.onsizechange = ({ height }) => { heard.sizes.push(height); frame.style.height = `${height}px`; };
    const ready = new Promise((resolve) => { bridge.oninitialized = resolve; });
    await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
    frame.src = `${VIEW}?${await answer.text()}`;
    await ready;
    bridge.sendToolInput({ arguments: args });
    if (late) return;
    bridge.sendToolResult(result ?? (await this.call(name, args)));
  },

  result: (result) => bridge.sendToolResult(result),
  cancelled: () => bridge.sendToolCancelled({ reason: "user action" }),
  context: (change) => bridge.sendHostContextChange(change),
  teardown: () => bridge.teardownResource({}),
  appOnly: () => tools.filter(isToolVisibilityAppOnly).map((one) => one.name),
};
document.body.dataset.ready = "yes";
