"""What would end a run only after minutes, or silently go wrong, said on the driver before Ray starts."""

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from bapo_verl.data_check import check_data
from bapo_verl.one_run import check_alone
from bapo_verl.prompt_check import check_model
from bapo_verl.resume_check import check_resume


class LaunchCheck(Callback):
    """Hydra callback, named in recipe/config/math.yaml and evaluate.yaml and in config/platform/cpu.yaml."""

    def on_job_start(self, config: DictConfig, **kwargs) -> None:
        """Called with the composed config, before verl's main function.

        Raises:
            SystemExit: naming the key, the rule and the value. (Hydra turns any other exception of a callback into a
                warning.)
        """
        check_alone()
        check_data(config)
        check_resume(config)
        check_model(config)
