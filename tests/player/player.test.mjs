// What a person sees and does in the player, in a real browser, through the official AppBridge, on the real server.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { AXE, REQUEST, heard, open, stage } from "./harness.mjs";

const TEXT_ONLY = { updateModelContext: { text: {} } };
const NO_MESSAGES = { serverTools: {}, openLinks: {}, updateModelContext: { text: {} } };
const UPRIGHT = `data:image/svg+xml,${encodeURIComponent("<svg xmlns='http://www.w3.org/2000/svg' width='400' height='800'/>")}`;

let scene;
before(async () => { scene = await stage(); });
afterEach(() => scene.clear());
after(() => scene?.stop());

/** The result of a tool's call that the host made before the view was opened. */
const result = (page, name, args) => page.evaluate(([n, a]) => host.call(n, a), [name, args]);

/** A page with a finished video, however the host is. The same video serves many tests. */
let made;
async function finished(how = {}) {
  const page = await scene.page();
  made ??= await result(page, "generate_video", REQUEST);
  await open(page, "generate_video", REQUEST, { ...how, result: made });
  await page.view.getByText("Finished", { exact: true }).waitFor();
  return page;
}

/** The video is there, its pictures too. */
async function plays(page) {
  const video = page.view.locator("video");
  await video.waitFor();
  await video.evaluate((v) => v.readyState >= 2 || new Promise((resolve) => { v.onloadeddata = resolve; }));
  return video.evaluate((v) => ({ from: v.currentSrc.slice(0, 20), seconds: v.duration, width: v.videoWidth, poster: v.poster.slice(0, 22) }));
}

const videos = async (page) => (await result(page, "list_videos", { limit: 50 })).structuredContent.videos.length;
const called = (page, name) => page.calls.filter((call) => call.name === name);
const frameOf = (page) => page.frames().find((frame) => frame.url().includes("/view?"));

/** No serious finding of axe-core. */
async function accessible(page) {
  const frame = frameOf(page);
  await frame.evaluate(AXE);
  const { violations } = await frame.evaluate(() => axe.run());
  const grave = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  assert.deepEqual(grave.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), []);
}

/** Nothing sticks out, and the frame is soon as high as what is in it: the host hears of each change of height. */
async function fits(page) {
  const sizes = () => ({
    wide: document.documentElement.scrollWidth - innerWidth,
    high: document.documentElement.scrollHeight - innerHeight,
  });
  const settled = `(${sizes})().high === 0`;
  await frameOf(page).waitForFunction(settled).catch(() => {}); // what it is instead is told below
  assert.deepEqual(await frameOf(page).evaluate(sizes), { wide: 0, high: 0 });
}

describe("a video on its way", () => {
  test("shows both frames, the camera moves and the time, then plays from its link", async () => {
    const page = await scene.page();
    await open(page, "generate_video", REQUEST);
    const { view } = page;
    await view.getByRole("img", { name: "First frame, dandelion_first.jpg" }).waitFor();
    await view.getByRole("img", { name: "Last frame, dandelion_last.jpg" }).waitFor();
    assert.deepEqual(await view.locator("#moves li").allTextContents(), ["Push in", "Truck left + Pedestal up"]);
    assert.equal(await view.getByRole("heading").textContent(), "A dandelion in the evening light; the seeds are about to fly.");
    await view.getByRole("progressbar").waitFor();
    assert.match(await view.getByRole("timer").textContent(), /^\d:\d\d · usually 1–5 min$/);
    await view.getByText("Finished", { exact: true }).waitFor();
    const { from, seconds, width, poster } = await plays(page);
    assert.match(from, /^http:\/\/127\.0\.0\.1/);
    assert.ok(Math.abs(seconds - 6) < 0.2);
    assert.equal(width, 852);
    assert.equal(poster, "data:image/jpeg;base64");
    assert.equal(await view.getByRole("progressbar").count(), 0);
    assert.equal(await view.getByText("6 s · 768P · 852×480").count(), 1);
  });

  test("is told to the model when it ends, and not asked after any more", async () => {
    const page = await finished();
    await plays(page);
    const { context } = await heard(page);
    assert.equal(context.length, 1);
    assert.match(context[0].content[0].text, /^Video \d+ has ended: Success\./);
    const asked = called(page, "check_status").length;
    await frameOf(page).evaluate(() => { plan(); render(); });
    assert.equal(await frameOf(page).evaluate(() => running()), false);
    assert.equal(called(page, "check_status").length, asked);
  });

  test("that is told twice keeps playing", async () => {
    const page = await finished();
    await plays(page);
    const source = await page.view.locator("video").getAttribute("src");
    await page.evaluate((again) => host.result(again), { content: [], structuredContent: { ...made.structuredContent, status: "Success" } });
    await page.view.getByText("Finished", { exact: true }).waitFor();
    assert.equal(await page.view.locator("video").getAttribute("src"), source);
    assert.equal(called(page, "get_download_url").length, 1);
  });

  test("is not asked after while it is out of sight", async () => {
    const page = await scene.page({ clock: true });
    await page.evaluate(() => document.body.insertAdjacentHTML("beforeend", "<div style='height: 5000px'></div>"));
    await open(page, "generate_video", { ...REQUEST, take: 30 });
    const { view, calls } = page;
    await view.getByRole("progressbar").waitFor();
    await page.evaluate(() => scrollTo(0, 4000));
    await frameOf(page).waitForFunction(() => !s.shown, null, { polling: 20 });
    calls.length = 0;
    await page.clock.runFor(120_000);
    assert.deepEqual(calls, []);
    await page.evaluate(() => scrollTo(0, 0));
    await frameOf(page).waitForFunction(() => s.shown, null, { polling: 20 });
    await page.clock.runFor(60_000);
    await view.getByText("Finished", { exact: true }).waitFor();
    assert.ok(called(page, "check_status").length >= 1);
  });

  test("opens from check_status alone, with everything that was asked", async () => {
    const page = await scene.page();
    const { structuredContent } = await result(page, "generate_video", { ...REQUEST, take: 3 });
    await open(page, "check_status", { task_id: structuredContent.task_id });
    await page.view.getByRole("img", { name: "Last frame, dandelion_last.jpg" }).waitFor();
    assert.equal(await page.view.locator("#moves li").count(), 2);
    await page.view.getByText("6 s · 768P · take 3").waitFor();
    await page.view.getByText("Finished", { exact: true }).waitFor();
  });

  test("without a task shows what is under way", async () => {
    const page = await scene.page();
    await result(page, "generate_video", { ...REQUEST, take: 4 });
    await open(page, "check_status", {});
    await page.view.getByRole("list", { name: "Videos" }).getByText("A dandelion").first().waitFor();
    await page.view.getByRole("button", { name: /^Show video/ }).first().waitFor();
    await page.view.getByRole("button", { name: /^Show video/ }).first().click();
    await plays(page);
  });

  test("that fails says why, and offers another take", async () => {
    const page = await scene.page();
    const facts = { task_id: "1", status: "Failed", failure: "The output was refused as sensitive (1027)." };
    await open(page, "check_status", { task_id: "1" }, { result: { content: [], structuredContent: facts } });
    await page.view.getByText("The output was refused as sensitive (1027).").waitFor();
    await page.view.getByRole("button", { name: "Another take…" }).waitFor();
    await accessible(page);
  });
});

describe("what was refused or stopped", () => {
  test("and what was mended or not paid again is said", async () => {
    const page = await scene.page();
    const again = { ...REQUEST, take: 40, last_frame_image: undefined };
    await result(page, "generate_video", again);
    await open(page, "generate_video", again);
    await page.view.getByText("The same request was under way already; nothing more was paid.").waitFor();
    await open(page, "generate_video", { ...REQUEST, prompt: "[a b c] A dandelion", take: 41 });
    await page.view.getByText(/\[a b c\] is sent as plain text/).waitFor();
  });

  test("is told in the server's own words", async () => {
    const page = await scene.page();
    await open(page, "generate_video", { ...REQUEST, first_frame_image: "/nowhere/at/all.jpg" });
    await page.view.getByText(/\/nowhere\/at\/all\.jpg/).last().waitFor();
    await page.view.getByText("It was not carried out").waitFor();
    assert.equal(await page.view.getByRole("progressbar").count(), 0);
    await accessible(page);
  });

  test("may have been paid for when the call was cancelled", async () => {
    const page = await scene.page();
    await open(page, "generate_video", REQUEST, { late: true });
    await page.view.getByText("Being sent").waitFor();
    await page.evaluate(() => host.cancelled());
    await page.view.getByText("ask the assistant to list the videos").waitFor();
  });
});

describe("a host that allows less", () => {
  test("where the link is forbidden, a small copy plays and says what it is", async () => {
    const page = await finished({ forbid: true });
    await page.view.getByText("This is a small copy without sound.").waitFor();
    const { from, seconds, width, poster } = await plays(page);
    assert.equal(from, "data:video/mp4;base6");
    assert.ok(Math.abs(seconds - 6) < 0.2);
    assert.equal(width, 638);
    assert.equal(poster, "data:image/jpeg;base64");
    await page.view.locator("video").evaluate((v) => { v.muted = true; return v.play(); });
    await page.view.locator("video").evaluate((v) => v.currentTime > 0.2 || new Promise((resolve) => { v.ontimeupdate = () => v.currentTime > 0.2 && resolve(); }));
    await accessible(page);
  });

  test("where only the text of an answer is passed on, the page shows it", async () => {
    const page = await scene.page();
    await open(page, "generate_video", REQUEST, { result: { content: [{ type: "text", text: "Submitted and paid for: task 1." }] } });
    await page.view.getByText("Submitted and paid for: task 1.").waitFor();
    assert.equal(await page.view.getByRole("progressbar").count(), 0);
  });

  test("without tools it still tells how the video stands, and points to the assistant", async () => {
    const page = await scene.page({ clock: true });
    await open(page, "generate_video", REQUEST, { can: TEXT_ONLY });
    await page.view.getByText("Being made").waitFor();
    await page.clock.runFor(15_000);
    await page.view.getByText("Ask the assistant how it goes.").waitFor();
    assert.equal(await page.view.getByRole("button").count(), 0);
    assert.deepEqual(page.calls, []);
  });
});

describe("money", () => {
  test("another take goes to the conversation after a second, plain question", async () => {
    const page = await finished();
    const before = await videos(page);
    await page.view.getByRole("button", { name: "Another take…" }).click();
    await page.view.getByText("A new video of 6 s at 768P. It is paid for from your account").waitFor();
    assert.deepEqual((await heard(page)).message, []);
    await page.view.getByRole("button", { name: "Make it (costs money)" }).click();
    await page.view.getByText("Your request is in the conversation.").waitFor();
    const [{ role, content }] = (await heard(page)).message;
    assert.equal(role, "user");
    assert.match(content[0].text, /^Make another take of video \d+: call generate_video with \{.*"take":2.*\}\nI know that it costs money\.$/s);
    assert.equal(await videos(page), before);
    assert.deepEqual(called(page, "generate_video"), []);
  });

  test("where the host takes no messages, it is paid for by that click, once, and shown", async () => {
    const page = await finished({ can: NO_MESSAGES });
    const before = await videos(page);
    await page.view.getByRole("button", { name: "Another take…" }).click();
    assert.deepEqual(called(page, "generate_video"), []);
    await page.view.getByRole("button", { name: "Make it (costs money)" }).dblclick();
    await page.view.getByText("Being made").waitFor();
    await page.view.getByText("take 2").waitFor();
    await page.view.getByText("Finished", { exact: true }).waitFor();
    await plays(page);
    assert.equal(called(page, "generate_video").length, 1);
    assert.equal(await videos(page), before + 1);
    assert.match((await heard(page)).context[1].content[0].text, /the person paid for it from the player\. It is task \d+/);
  });

  test("a form that is left pays for nothing", async () => {
    const page = await finished({ can: NO_MESSAGES });
    await page.view.getByRole("button", { name: "Continue from here…" }).click();
    await page.view.getByRole("textbox", { name: "What happens next?" }).press("Escape");
    assert.equal(await page.view.getByRole("textbox").count(), 0);
    assert.deepEqual(called(page, "generate_video"), []);
  });

  test("to continue names the last frame, or the picture at which the person stopped", async () => {
    const page = await finished();
    await plays(page);
    await page.view.getByRole("button", { name: "Continue from here…" }).click();
    await page.view.getByRole("textbox").fill("The seeds fly");
    assert.equal(await page.view.getByRole("checkbox").count(), 0);
    await page.view.getByRole("button", { name: "Make it (costs money)" }).click();
    await page.view.getByText("Your request is in the conversation.").waitFor();
    await page.view.locator("video").evaluate((v) => new Promise((resolve) => { v.onseeked = resolve; v.currentTime = 2.5; }));
    await page.view.getByRole("button", { name: "Continue from here…" }).click();
    const here = page.view.getByRole("checkbox", { name: /2\.5 s/ });
    await here.press("Space"); // by keyboard: on a busy machine the page may still move under a mouse
    assert.ok(await here.isChecked());
    await page.view.getByRole("button", { name: "Make it (costs money)" }).click();
    await page.waitForFunction(() => host.heard.message.length === 2);
    const [first, second] = (await heard(page)).message.map(({ content }) => content[0].text);
    assert.match(first, /"prompt":"The seeds fly".*"first_frame_image":"hailuo:\/\/videos\/\d+\/last-frame".*"take":1/);
    assert.match(second, /from hailuo:\/\/videos\/\d+\/frame\/2\.5\. Suggest what happens next, and ask me before you pay\.$/);
  });
});

describe("taking it away", () => {
  test("a download goes by the host, else by a link, else into the output folder", async () => {
    for (const [can, kind] of [[{ serverTools: {}, downloadFile: {} }, "downloadFile"], [NO_MESSAGES, "openLink"]]) {
      const page = await finished({ can });
      await page.view.getByRole("button", { name: "Download" }).click();
      await page.waitForFunction((name) => host.heard[name].length === 1, kind);
      assert.match(JSON.stringify((await heard(page))[kind][0]), /http:\/\/127\.0\.0\.1:\d+\/files\/.*Expires=/);
    }
    const page = await finished({ can: { serverTools: {} } });
    await page.view.getByRole("button", { name: "Download" }).click();
    await page.view.getByText(/^Saved at .*\.mp4$/m).waitFor();
  });
});

describe("a sketch", () => {
  test("plays, and becomes a video only when asked for", async () => {
    const page = await scene.page();
    await open(page, "preview_video", REQUEST);
    await page.view.getByText("Sketch of the shot, drawn from the flat pictures").waitFor();
    const { from, seconds } = await plays(page);
    assert.equal(from, "data:video/mp4;base6");
    assert.ok(Math.abs(seconds - 6) < 0.2);
    await accessible(page);
    await page.view.getByRole("button", { name: "Make it…" }).click();
    await page.view.getByRole("button", { name: "Make it (costs money)" }).click();
    await page.view.getByText("Your request is in the conversation.").waitFor();
    assert.match((await heard(page)).message[0].content[0].text, /^Make the video of this sketch: call generate_video with \{"prompt":"\[Push in\]/);
  });
});

describe("a film", () => {
  const { first_frame_image: first, last_frame_image: last } = REQUEST;
  const FILM = { keyframes: [first, last, first], shots: [{ prompt: "[Push in] A dandelion" }, { prompt: "[Pull out] The seeds fly" }] };

  test("that is planned shows its shots, and is made only when asked for", async () => {
    const page = await scene.page();
    await open(page, "create_film", FILM);
    await page.view.getByText("Plan of a film: 2 shots; nothing is paid yet").waitFor();
    const shots = page.view.getByRole("list", { name: "Shots" }).getByRole("listitem");
    assert.deepEqual(await shots.allInnerTexts(), ["Shot 1 · 6 s\nA dandelion", "Shot 2 · 6 s\nThe seeds fly"]);
    await accessible(page);
    await page.view.getByRole("button", { name: "Make it…" }).click();
    await page.view.getByText("2 new videos, 12 s in all. It is paid for from your account").waitFor();
    await page.view.getByRole("button", { name: "Make it (costs money)" }).click();
    await page.view.getByText("Your request is in the conversation.").waitFor();
    assert.match((await heard(page)).message[0].content[0].text, /^Make this film: call create_film with \{"keyframes":\[.*"confirm":true,"preview":false\}/);
  });

  test("with problems cannot be made", async () => {
    const page = await scene.page();
    await open(page, "create_film", { ...FILM, shots: [{ prompt: "[Push inn] A dandelion" }, FILM.shots[1]] });
    await page.view.getByText(/\[Push inn\] is not a camera command/).waitFor();
    assert.equal(await page.view.getByRole("button").count(), 0);
  });

  test("as a sketch plays, and becomes a film where the host takes no messages", async () => {
    const page = await scene.page({ width: 320 });
    await open(page, "create_film", { ...FILM, preview: true }, { can: NO_MESSAGES });
    await page.view.getByText("Sketch of a film: 2 shots; nothing is paid yet").waitFor();
    assert.ok(Math.abs((await plays(page)).seconds - 12) < 0.3);
    const before = await videos(page);
    await page.view.getByRole("button", { name: "Make it…" }).click();
    await page.view.getByRole("button", { name: "Make it (costs money)" }).dblclick();
    await page.view.getByText(/^Film: \d of 2 shots finished$/).waitFor();
    await accessible(page);
    await fits(page);
    await page.view.getByText("The film is finished").waitFor();
    assert.equal(called(page, "create_film").length, 1);
    assert.equal(await videos(page), before + 2);
    assert.ok(Math.abs((await plays(page)).seconds - 12) < 0.3);
    await page.view.getByText("This is a small copy without sound. The whole film is in the file.").waitFor();
    assert.equal(await page.view.getByText(/Saved at .*film.*\.mp4/).count(), 1);
    await page.view.getByRole("button", { name: "Show shot 2" }).press("Enter");
    await page.view.getByRole("heading", { name: "The seeds fly" }).waitFor();
    await page.view.getByRole("img", { name: "First frame, dandelion_last.jpg" }).waitFor();
    assert.equal(await frameOf(page).evaluate(() => document.activeElement.textContent), "Show");
    await page.view.getByRole("button", { name: "Show shot 2", pressed: true }).waitFor();
    await accessible(page);
    await fits(page);
  });
});

describe("for everyone", () => {
  for (const theme of ["light", "dark"]) {
    for (const width of [320, 720]) {
      test(`usable and accessible in ${theme} at ${width} px, at every step`, async () => {
        const page = await scene.page({ width });
        made ??= await result(page, "generate_video", REQUEST);
        const processing = { ...made, structuredContent: { ...made.structuredContent, status: "Processing" } };
        await open(page, "generate_video", REQUEST, { context: { theme }, result: processing });
        await page.view.getByRole("img", { name: /^Last frame/ }).waitFor();
        await accessible(page);
        await fits(page);
        await page.view.getByText("Finished", { exact: true }).waitFor();
        await plays(page);
        await accessible(page);
        await fits(page);
        await page.view.getByRole("button", { name: "Continue from here…" }).click();
        await accessible(page);
        await fits(page);
      });
    }
  }

  test("upright pictures and videos leave room for the rest", async () => {
    const page = await scene.page();
    const facts = { task_id: "2", status: "Processing" };
    await open(page, "generate_video", { prompt: "x", first_frame_image: UPRIGHT }, { result: { content: [], structuredContent: facts } });
    const picture = page.view.getByRole("img", { name: "First frame, pasted" });
    await picture.evaluate((img) => img.decode());
    const { width, height } = await picture.boundingBox();
    assert.deepEqual([Math.round(width), Math.round(height)], [150, 300]);
    await fits(page);
    const sizes = (await heard(page)).sizes.length;
    await page.view.getByText("It could not be asked how it goes; that is tried again.").waitFor();
    assert.ok((await heard(page)).sizes.length <= sizes + 1, "the height settles at once");
  });

  test("by keyboard alone", async () => {
    const page = await finished();
    await plays(page);
    await page.view.locator("video").focus();
    const focused = () => frameOf(page).evaluate(() => document.activeElement.textContent || document.activeElement.id);
    const tabTo = async (name) => {
      for (let presses = 0; presses < 20 && (await focused()) !== name; presses++) await page.keyboard.press("Tab");
      assert.equal(await focused(), name);
    };
    await tabTo("Download");
    await tabTo("Another take…");
    const outline = await frameOf(page).evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, "solid");
    await page.keyboard.press("Enter");
    assert.equal(await focused(), "Make it (costs money)");
    await page.keyboard.press("Escape");
    assert.equal(await focused(), "Another take…");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => host.heard.message.length === 1);
  });

  test("a screen reader hears each change of state once, and not the seconds", async () => {
    const page = await scene.page();
    await open(page, "generate_video", REQUEST, { late: true });
    const log = await frameOf(page).evaluateHandle(() => {
      const said = [];
      new MutationObserver(() => said.push(document.getElementById("state").textContent)).observe(document.getElementById("state"), { childList: true });
      return said;
    });
    await page.evaluate(([args]) => host.call("generate_video", args).then(host.result), [{ ...REQUEST, take: 20 }]);
    await page.view.getByText("Finished", { exact: true }).waitFor();
    const said = await log.jsonValue();
    assert.equal(said.at(-1), "Finished");
    assert.deepEqual(said, [...new Set(said)]);
    assert.equal(await page.view.getByRole("timer").count(), 0);
    assert.equal(await frameOf(page).evaluate(() => document.querySelector("[role=timer]").getAttribute("aria-live")), null);
  });

  test("in the host's colours and letters, also when they change", async () => {
    const page = await scene.page();
    const variables = { "--color-background-primary": "rgb(10, 20, 30)", "--color-text-primary": "rgb(240, 240, 240)", "--font-sans": "monospace" };
    await open(page, "generate_video", REQUEST, { context: { theme: "dark", styles: { variables } } });
    const look = () => frameOf(page).evaluate(() => {
      const { backgroundColor, color, fontFamily, colorScheme } = getComputedStyle(document.body);
      return { backgroundColor, color, fontFamily, colorScheme };
    });
    assert.deepEqual(await look(), { backgroundColor: "rgb(10, 20, 30)", color: "rgb(240, 240, 240)", fontFamily: "monospace", colorScheme: "dark" });
    await page.evaluate(() => host.context({ theme: "light", styles: { variables: { "--color-background-primary": "rgb(250, 250, 240)" } } }));
    await frameOf(page).waitForFunction(() => getComputedStyle(document.body).backgroundColor === "rgb(250, 250, 240)");
    assert.equal((await look()).colorScheme, "light");
  });

  test("the page asks nothing of any network but the video itself", async () => {
    const page = await finished();
    await plays(page);
    const own = new URL(page.url()).port;
    const elsewhere = page.asked.filter((url) => new URL(url).port !== own && !url.startsWith("data:"));
    assert.ok(elsewhere.length >= 1);
    assert.deepEqual(elsewhere.filter((url) => !url.includes("/files/inference_output")), []);
  });

  test("the page answers the host when it is taken down, and asks no more", async () => {
    const page = await scene.page({ clock: true });
    await open(page, "generate_video", REQUEST);
    await page.view.getByRole("progressbar").waitFor();
    await page.evaluate(() => host.teardown());
    page.calls.length = 0;
    await page.clock.runFor(120_000);
    assert.deepEqual(page.calls, []);
  });

  test("what serves the page alone is hidden from models", async () => {
    const page = await scene.page();
    assert.deepEqual(await page.evaluate(() => host.appOnly()), ["player_card", "player_clip"]);
  });
});
