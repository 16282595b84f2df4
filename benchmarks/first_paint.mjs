// How soon the player is seen: the time to its first paint in Chromium, in a host's frame, each time in a fresh profile.
// Needs `npm ci` in tests/player. Usage: node benchmarks/first_paint.mjs [RUNS]
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { REQUEST, ROOT, open, stage } from "../tests/player/harness.mjs";

const runs = Number(process.argv[2] ?? 10);
const scene = await stage(600);
const times = [];
for (let run = 0; run < runs; run++) {
  const page = await scene.page();
  await open(page, "generate_video", REQUEST);
  const frame = page.frames().find((one) => one.url().includes("/view?"));
  times.push(await frame.evaluate(async () => {
    const paint = () => performance.getEntriesByName("first-contentful-paint")[0];
    while (!paint()) await new Promise(requestAnimationFrame);
    return paint().startTime;
  }));
  await page.context().close();
}
await scene.stop();
times.sort((a, b) => a - b);
const html = readFileSync(join(ROOT, "hailuo_mcp", "surface", "player.html"));
console.log(JSON.stringify({
  page_bytes: html.length,
  page_bytes_gzipped: gzipSync(html).length,
  first_contentful_paint_ms: { median: Math.round(times[Math.floor(runs / 2)]), worst: Math.round(times.at(-1)), runs },
}));
