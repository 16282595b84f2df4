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
