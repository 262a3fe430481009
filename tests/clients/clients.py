"""webuiapi and OpenAI's SDK for Python, as their users call them."""

import base64
import io
import os

import openai
import PIL.Image
import webuiapi

ADDRESS = os.environ["TTSVAR_ADDRESS"]
TOKEN = os.environ["TTSVAR_TOKEN"]
PROMPT = "a blue star above a red ring"


def stable_diffusion() -> PIL.Image.Image:
    """An image through AUTOMATIC1111's interface; what its text `parameters` says."""
    api = webuiapi.WebUIApi(baseurl=f"{ADDRESS}/sdapi/v1")
    api.session.headers["Authorization"] = f"Bearer {TOKEN}"
    settings = {"method": "best-of-n", "n": 2}
    result = api.txt2img(prompt=PROMPT, seed=7, override_settings=settings)
    (image,) = result.images
    prompt, *_, last = image.info["parameters"].splitlines()
    assert prompt == PROMPT, image.info
    fields = dict(field.split(": ", 1) for field in last.split(", ") if ": " in field)
    assert fields["Seed"] == "7" and fields["Sampler"].startswith("best-of-n"), fields
    assert fields["Size"] == f"{image.width}x{image.height}", fields
    assert result.info["seed"] == 7 and result.info["prompt"] == PROMPT, result.info
    assert [model["model_name"] for model in api.get_sd_models()] == ["demo"]
    assert api.get_progress()["progress"] == 0
    return image


def open_ai() -> PIL.Image.Image:
    """The same image through OpenAI's interface."""
    client = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key=TOKEN)
    assert client.models.retrieve("demo").id == "demo"
    assert [model.id for model in client.models.list()] == ["demo"]
    search = {"method": "best-of-n", "n": 2}
    response = client.images.generate(
        model="demo",
        prompt=PROMPT,
        n=2,
        response_format="b64_json",
        extra_body={"seed": 7, "search": search},
    )
    first, second = (image_of(image.b64_json) for image in response.data or [])
    assert first.tobytes() != second.tobytes()
    try:
        client.images.generate(model="demo", prompt=" ")
    except openai.BadRequestError as error:
        assert error.param == "prompt", error
    else:
        raise AssertionError("an empty prompt was accepted")
    return first


def image_of(text: str | None) -> PIL.Image.Image:
    """An image in base64."""
    assert text is not None
    return PIL.Image.open(io.BytesIO(base64.b64decode(text)))


assert stable_diffusion().tobytes() == open_ai().tobytes()
