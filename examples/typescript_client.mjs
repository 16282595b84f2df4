// The whole job with the TypeScript SDK: two pictures and a camera move in, an MP4 out.
//
//     npm install --prefix examples
//     node examples/typescript_client.mjs
//
// It needs the `hailuo-mcp` program on the PATH, and runs offline: `--simulate` gives the server a simulated API. For
// real videos take that away and set DMXAPI_API_KEY.

import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const pictures = fileURLToPath(new URL("../hailuo_mcp/simulator/pictures/", import.meta.url));
const server = new StdioClientTransport({
  command: "hailuo-mcp",
  args: ["serve", "--simulate", "--seconds", "3", "--allow", pictures],
  env: process.env,
});
const client = new Client({ name: "example", version: "1.0.0" });
await client.connect(server);

async function call(name, args) {
  const onprogress = ({ message }) => console.log("  ...", message);
  const result = await client.callTool({ name, arguments: args }, { onprogress });
  console.log(result.content[0].text);
  return result.isError ? {} : result.structuredContent;
}

let task = await call("generate_video", {
  prompt: "[Push in] The evening sun reaches the dandelion",
  first_frame_image: `${pictures}dandelion_first.jpg`,
  last_frame_image: `${pictures}dandelion_last.jpg`,
});
while (task.status === "Processing") {
  task = await call("check_status", { task_id: task.task_id, wait_seconds: 45 });
}
if (task.status === "Success") await call("download_video", { task_id: task.task_id });
await client.close();
