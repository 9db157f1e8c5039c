"""``earwitness gpu``."""

from collections.abc import Sequence

from infra.cli.console import errors_as_exit, stderr, stdout
from infra.cli.weights import have_models
from infra.settings import load_settings
from shared.stages import MODELS_VOLUME
from shared.weights import DEFAULT_MODELS, find_model


def deploy(aliases: Sequence[str], environment: str | None) -> int:
    """Put the default models and those named into Modal's volume, and deploy the GPU stages."""
    with errors_as_exit():
        wanted = list(dict.fromkeys([*DEFAULT_MODELS.values(), *(find_model(alias).alias for alias in aliases)]))
        settings = load_settings()
        place = environment or settings.modal_environment
        from infra.modal.deploy import connect, deploy_apps, fill_volume

        client = connect()
        have_models(wanted)
        stderr.print(f"Models in volume {MODELS_VOLUME}: {', '.join(wanted)}")
        uploaded = fill_volume(client, wanted, settings.models_dir, environment=place)
        stderr.print(f"Uploaded {len(uploaded)} files; the others were there.")
        stdout.print(f"Deployed: {', '.join(deploy_apps(environment=place))}")
    return 0
