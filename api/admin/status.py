"""What the site says about itself to everybody: its name, its switches, its texts. Nothing here is secret."""

from importlib.metadata import version

from fastapi import Request
from pydantic import BaseModel, Field

from api.admin.callers import AsAdmin
from api.admin.envelope import Envelope
from api.admin.groups import Number
from api.admin.readable import Readable
from api.admin.routing import Routes
from api.admin.services import Services, Site
from api.admin.setup import is_set_up

routes = Routes("site")


class StatusShape(BaseModel):
    """Branding, switches and units of a site."""

    version: str
    start_time: int = Field(description="seconds since the epoch")
    setup: bool = Field(description="whether there is a root account")
    system_name: str
    logo: str
    footer_html: str
    server_address: str
    docs_link: str
    top_up_link: str
    price: Number = Field(description="payment currency for one unit")
    min_topup: int
    quota_per_unit: Number
    display_in_currency: bool
    enable_batch_update: bool = Field(description="always false: charges are durable before they are acknowledged")
    enable_drawing: bool
    enable_task: bool
    enable_data_export: bool
    data_export_default_time: str
    default_collapse_sidebar: bool
    enable_online_topup: bool
    mj_notify_enabled: bool
    chats: list[dict[str, str]]
    demo_site_enabled: bool
    self_use_mode_enabled: bool
    check_in_enabled: bool
    email_verification: bool
    turnstile_check: bool
    turnstile_site_key: str
    github_oauth: bool
    github_client_id: str
    linuxdo_oauth: bool
    linuxdo_client_id: str
    telegram_oauth: bool
    telegram_bot_name: str
    wechat_login: bool
    wechat_qrcode: str
    oidc_enabled: bool
    oidc_client_id: str
    oidc_authorization_endpoint: str


@routes.get("/api/status", summary="What the site says about itself")
def read_status(request: Request, site: Site) -> Envelope[StatusShape]:
    return Envelope(data=_status(site, is_set_up(request, site)))


@routes.get("/api/status/test", summary="Whether the ledger answers")
def check_status(site: Site, _: AsAdmin) -> Envelope[dict[str, int]]:
    return Envelope(message="the ledger answers", data={"head": site.books.store.head()})


@routes.get("/api/notice", summary="The operator's notice")
def read_notice(site: Site) -> Envelope[str]:
    return Envelope(data=site.directory.settings.text("Notice"))


@routes.get("/api/about", summary="The operator's text about the site")
def read_about(site: Site) -> Envelope[str]:
    return Envelope(data=site.directory.settings.text("About"))


@routes.get("/api/home_page_content", summary="The operator's text for the home page")
def read_home_page_content(site: Site) -> Envelope[str]:
    return Envelope(data=site.directory.settings.text("HomePageContent"))


def _status(site: Services, is_set_up: bool) -> StatusShape:
    shown = Readable(site.directory.settings)
    return StatusShape(
        version=version("veloera"),
        start_time=int(site.started_at_s),
        setup=is_set_up,
        system_name=shown.text("SystemName"),
        logo=shown.text("Logo"),
        footer_html=shown.text("Footer"),
        server_address=shown.text("ServerAddress") or f"http://localhost:{site.environment.port}",
        docs_link=shown.text("general_setting.docs_link"),
        top_up_link=shown.text("TopUpLink"),
        price=shown.number("Price"),
        min_topup=shown.whole("MinTopUp"),
        quota_per_unit=shown.number("QuotaPerUnit"),
        display_in_currency=shown.flag("DisplayInCurrencyEnabled"),
        enable_batch_update=False,
        enable_drawing=shown.flag("DrawingEnabled"),
        enable_task=shown.flag("TaskEnabled"),
        enable_data_export=shown.flag("DataExportEnabled"),
        data_export_default_time=shown.text("DataExportDefaultTime"),
        default_collapse_sidebar=shown.flag("DefaultCollapseSidebar"),
        enable_online_topup=all(shown.text(key) for key in ("PayAddress", "EpayId", "EpayKey")),
        mj_notify_enabled=shown.flag("MjNotifyEnabled"),
        chats=shown.pairs("Chats"),
        demo_site_enabled=shown.flag("DemoSiteEnabled"),
        self_use_mode_enabled=shown.flag("SelfUseModeEnabled"),
        check_in_enabled=shown.flag("CheckInEnabled"),
        email_verification=shown.flag("EmailVerificationEnabled"),
        turnstile_check=shown.flag("TurnstileCheckEnabled"),
        turnstile_site_key=shown.text("TurnstileSiteKey"),
        github_oauth=shown.flag("GitHubOAuthEnabled"),
        github_client_id=shown.text("GitHubClientId"),
        linuxdo_oauth=shown.flag("LinuxDOOAuthEnabled"),
        linuxdo_client_id=shown.text("LinuxDOClientId"),
        telegram_oauth=shown.flag("TelegramOAuthEnabled"),
        telegram_bot_name=shown.text("TelegramBotName"),
        wechat_login=shown.flag("WeChatAuthEnabled"),
        wechat_qrcode=shown.text("WeChatAccountQRCodeImageURL"),
        oidc_enabled=shown.flag("oidc.enabled"),
        oidc_client_id=shown.text("oidc.client_id"),
        oidc_authorization_endpoint=shown.text("oidc.authorization_endpoint"),
    )
