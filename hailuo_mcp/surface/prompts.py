"""Prompts that a person picks in a host."""

from typing import Any

from mcp.server.mcpserver import MCPServer


def add_prompts(server: "MCPServer[Any]") -> None:
    """Register the prompts."""

    @server.prompt(
        name="first_last_frame_video",
        title="Video from a first and a last picture",
        description="Make a video that begins with one picture and ends with another, step by step",
    )
    def first_last_frame_video(
        first_frame: str,
        last_frame: str = "",
        story: str = "",
        camera_move: str = "",
        resolution: str = "",
        duration: str = "",
    ) -> str:
        wishes = [
            f"First frame: {first_frame}",
            f"Last frame: {last_frame}" if last_frame else "No last frame.",
            f"What happens: {story}" if story else "Ask me what happens between the pictures.",
            f"Camera move: [{camera_move.strip('[] ')}]" if camera_move else "",
            f"Resolution: {resolution}" if resolution else "",
            f"Seconds: {duration}" if duration else "",
        ]
        return "\n".join([*filter(None, wishes), *_STEPS])

    @server.prompt(
        name="storyboard",
        title="A film from a story and pictures",
        description="Plan the shots of a film from a story and keyframes, then make it, step by step",
    )
    def storyboard(story: str, pictures: str = "", shots: str = "", resolution: str = "") -> str:
        wishes = [
            f"Story: {story}",
            f"Pictures, in order: {pictures}" if pictures else "Ask me which pictures to use.",
            f"Number of shots: {shots}" if shots else "",
            f"Resolution: {resolution}" if resolution else "",
        ]
        return "\n".join([*filter(None, wishes), *_FILM_STEPS])


_FILM_STEPS = (
    "",
    "Please make this film with the hailuo tools:",
    "1. Read hailuo://camera-commands. Lay the pictures in order as keyframes: N pictures make N-1 shots, each from "
    "one to the next; where a picture is missing, leave the keyframe empty and the next shot goes on from there.",
    "2. Write a prompt for each shot: one or two sentences of what is seen between its two pictures, with camera moves "
    "in brackets. Let the moves flow: the direction in which one shot ends is the one in which the next begins (a "
    "[Push in] leads into a [Push in] or a [Static shot], not into a [Pull out]); one main move a shot.",
    "3. Call create_film without confirm, mend what it names, show me the plan and the storyboard, and offer "
    "preview=true: the whole film as a free sketch.",
    "4. After my yes call create_film once more with confirm=true: it costs money for each shot.",
    "5. Call check_status with the film's id and wait_seconds 45 until it ends. Do not create it again meanwhile.",
    "6. Call view_video with the film's id and look at each shot. Retake only what is bad, with retake_shot and what "
    "should change, after my yes. Then tell me where the film is.",
)

_STEPS = (
    "",
    "Please make this video with the hailuo tools:",
    "1. Read hailuo://camera-commands and write the prompt: one or two sentences of what is seen, with the camera "
    "moves in brackets where they happen. Call check_frames and mend what it names.",
    "2. Show me the prompt, the settings and what will be cropped, and offer a free preview_video. Wait for my yes: "
    "it costs money.",
    "3. Call generate_video once, with the pictures as paths or URLs. If it refuses, tell me what to mend.",
    "4. Call check_status with the task_id and wait_seconds 45 until it says Success or Failed. Do not submit again "
    "meanwhile.",
    "5. Call view_video to see whether the video is what I asked for, download_video, and tell me where the file is.",
)
