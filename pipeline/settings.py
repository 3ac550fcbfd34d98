"""Where files and databases are: TAPECAST_* in the environment, read by workflow and flows only."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.sqlite import sqlite_uri


class Settings(BaseSettings):
    """Paths and addresses of this installation; all state lies under `home` unless configured otherwise."""

    model_config = SettingsConfigDict(env_prefix="TAPECAST_", frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Field(Path(".tapecast"), description="Folder of all state")
    tracking_uri: str | None = Field(None, description="MLflow server or database; empty: SQLite under home")
    ledger: str | None = Field(None, description="Database of the ledger; empty: SQLite under home")
    mlflow_pages: str | None = Field(None, description="MLflow's pages as a browser reaches them; empty: tracking_uri")
    mlflow_experiment: str = Field("tapecast", description="MLflow experiment that runs are filed under")
    alert_block: str | None = Field(None, description="Prefect block that alerts go to, as type/name; empty: none")
    heartbeat_url: SecretStr | None = Field(None, description="Address requested after each daily run; empty: none")

    @property
    def root(self) -> Path:
        """The home folder, absolute."""
        return self.home.expanduser().absolute()

    @property
    def fits(self) -> Path:
        """Finished fits, by key."""
        return self.root / "fits"

    @property
    def models(self) -> Path:
        """Published models, a folder per name."""
        return self.root / "models"

    @property
    def work(self) -> Path:
        """Arrays shared by workers while a run lasts."""
        return self.root / "work"

    @property
    def processes(self) -> Path:
        """Notes on the processes that a run has started, while they live."""
        return self.root / "processes"

    @property
    def reports(self) -> Path:
        """Reports, one folder per run."""
        return self.root / "reports"

    @property
    def outbox(self) -> Path:
        """What runs record, until MLflow has it."""
        return self.root / "outbox"

    @property
    def prices(self) -> Path:
        """The price store: a folder per collection."""
        return self.root / "prices"

    @property
    def universes(self) -> Path:
        """The user's named lists of tickers."""
        return self.root / "universes"

    @property
    def cache(self) -> Path:
        """What a source keeps for itself."""
        return self.root / "cache"

    @property
    def mlflow_uri(self) -> str:
        """The tracking URI."""
        return self.tracking_uri or sqlite_uri(self.root / "mlflow" / "mlflow.db")

    @property
    def mlflow_artifacts(self) -> str | None:
        """The artifact location of a new experiment; None lets a server decide."""
        return None if self.tracking_uri else (self.root / "mlflow" / "artifacts").as_uri()

    @property
    def days(self) -> Path:
        """What each day of a model issued, as JSON: a folder per model name, a file per day."""
        return self.root / "days"

    @property
    def ledger_url(self) -> str:
        """The address of the ledger's database."""
        return self.ledger or self.home_ledger_url

    @property
    def home_ledger_url(self) -> str:
        """The address of the SQLite ledger under home, which is the ledger unless another is configured."""
        return sqlite_uri(self.root / "ledger" / "ledger.db")
