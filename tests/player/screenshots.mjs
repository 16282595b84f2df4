// Takes the README's pictures of the player anew; with a folder as argument, pictures of every state to look at.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { REQUEST, ROOT, open, stage } from "./harness.mjs";

const everything = process.argv[2];
const folder = everything ?? join(ROOT, "examples", "pictures");
mkdirSync(folder, { recursive: true });
const WIDE = { width: 640, deviceScaleFactor: 1.5 };
const NARROW = { width: 320, deviceScaleFactor: 2 };

async function shoot(page, name) {
  await page.addStyleTag({ content: "#place { margin: 8px; border: 1px solid #8885; border-radius: 12px; overflow: hidden }" });
  await page.locator("#place").screenshot({ path: join(folder, `${name}.jpg`), type: "jpeg", quality: 82, animations: "disabled" });
  await page.context().close();
}

async function making(scene, name, theme, size) {
  const page = await scene.page({ ...size, clock: true });
  await open(page, "generate_video", REQUEST, { context: { theme } });
  await page.view.getByRole("img", { name: /^Last frame/ }).waitFor();
  await page.view.getByText("6 s · 768P").waitFor(); // the server has said how old the video is
  await page.clock.fastForward(42_000);
  await page.view.getByText(/^\d:[1-9]\d ·/).waitFor();
  await shoot(page, name);
}

async function finished(scene, name, theme, size, { how = {}, form = false } = {}) {
  const page = await scene.page(size);
  await open(page, "generate_video", REQUEST, { context: { theme }, ...how });
  await page.view.getByText("Finished", { exact: true }).waitFor({ timeout: 60_000 });
  const video = page.view.locator("video");
  await video.waitFor({ timeout: 60_000 });
  await video.evaluate((v) => new Promise((resolve) => { v.onseeked = resolve; v.currentTime = 2; }));
  // The browser's own sign of loading goes away a moment after the picture is there.
  await video.evaluate((v) => v.play().then(() => new Promise((resolve) => { v.ontimeupdate = () => v.currentTime > 2.2 && (v.pause(), resolve()); })));
  if (form) await page.view.getByRole("button", { name: form }).click();
  await shoot(page, name);
}

async function told(scene, name, until, tool, args, structuredContent, size = WIDE, theme = "light") {
  const page = await scene.page(size);
  await open(page, tool, args, { context: { theme }, ...(structuredContent && { result: { content: [{ type: "text", text: "" }], structuredContent } }) });
  await page.view.getByText(until).first().waitFor({ timeout: 60_000 });
  await shoot(page, name);
}

const slow = await stage(600);
await making(slow, "player-making", "light", WIDE);
if (everything) {
  await making(slow, "making-dark", "dark", WIDE);
  await making(slow, "making-320", "light", NARROW);
  await told(slow, "list", "1 under way", "check_status", {});
  await told(slow, "text-only", "10 s", "generate_video", { prompt: "[Static shot] The sea at night", duration: 10 });
  await told(slow, "failed", "sensitive", "check_status", { task_id: "1" }, { task_id: "1", status: "Failed", failure: "The output was refused as sensitive (1027); change the prompt." });
  await told(slow, "refused", "carried out", "generate_video", { ...REQUEST, first_frame_image: "/nowhere.jpg" });
  await told(slow, "sketch", "Saved at", "preview_video", REQUEST);
  const film = { keyframes: [REQUEST.first_frame_image, REQUEST.last_frame_image, ""], shots: [{ prompt: "[Push in] A dandelion in the evening light" }, { prompt: "[Pull out] The seeds fly over the meadow, and the camera follows them up into the sky" }] };
  await told(slow, "plan", "nothing is paid", "create_film", film);
  await told(slow, "film", "0 of 2", "create_film", { ...film, confirm: true }, undefined, NARROW, "dark");
}
await slow.stop();

const quick = await stage(1);
await finished(quick, "player-finished", "dark", WIDE);
if (everything) {
  await finished(quick, "finished-light", "light", WIDE);
  await finished(quick, "finished-320", "dark", NARROW);
  await finished(quick, "forbidden", "light", WIDE, { how: { forbid: true } });
  await finished(quick, "continue", "light", WIDE, { form: "Continue from here…" });
  await finished(quick, "continue-320", "light", NARROW, { form: "Continue from here…" });
  await finished(quick, "again-dark", "dark", WIDE, { form: "Another take…" });
}
await quick.stop();
