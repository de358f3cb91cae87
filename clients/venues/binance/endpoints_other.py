"""Writes that trade, borrow or set something in ways an order's grammar does not describe; never sized."""

from clients.venue import Action
from clients.venues.binance.endpoint import (
    S1,
    named,
)

# Writes that trade or borrow. Named, never sized: their risk is not what the order grammar says (a margin
# order can borrow, a quote is accepted by its id alone), so every intent of these is uncertain.
OTHER_WRITES = (
    named("POST", S1 + "margin/order", "margin.order.place", Action.PLACE, "margin", 6),
    named("POST", S1 + "margin/order/oco", "margin.order_list.oco", Action.PLACE, "margin", 6),
    named("POST", S1 + "margin/order/oto", "margin.order_list.oto", Action.PLACE, "margin", 6),
    named("POST", S1 + "margin/order/otoco", "margin.order_list.otoco", Action.PLACE, "margin", 6),
    named("DELETE", S1 + "margin/order", "margin.order.cancel", Action.CANCEL, "margin", 10),
    named("DELETE", S1 + "margin/openOrders", "margin.order.cancel_all", Action.CANCEL, "margin"),
    named("DELETE", S1 + "margin/orderList", "margin.order_list.cancel", Action.CANCEL, "margin"),
    named("POST", S1 + "margin/borrow-repay", "margin.borrow_repay", Action.LEVERAGE, "margin", 1500),
    named("POST", S1 + "margin/loan", "margin.borrow", Action.LEVERAGE, "margin", 3000),
    named("POST", S1 + "margin/repay", "margin.repay", Action.LEVERAGE, "margin", 3000),
    named("POST", S1 + "margin/max-leverage", "margin.max_leverage", Action.LEVERAGE, "margin", 3000),
    named("POST", S1 + "margin/manual-liquidation", "margin.liquidate", Action.PLACE, "margin", 3000),
    named(
        "POST",
        S1 + "margin/exchange-small-liability",
        "margin.small_liability",
        Action.PLACE,
        "margin",
        3000,
    ),
    named("POST", S1 + "margin/isolated/account", "margin.isolated.enable", Action.SETTING, "margin", 300),
    named("DELETE", S1 + "margin/isolated/account", "margin.isolated.disable", Action.SETTING, "margin", 300),
    named("POST", S1 + "bnbBurn", "wallet.bnb_burn", Action.SETTING, "setting"),
    named("POST", S1 + "algo/futures/newOrderTwap", "algo.futures.twap", Action.PLACE, "algo", 3000),
    named("POST", S1 + "algo/futures/newOrderVp", "algo.futures.vp", Action.PLACE, "algo", 3000),
    named("POST", S1 + "algo/spot/newOrderTwap", "algo.spot.twap", Action.PLACE, "algo", 3000),
    named("DELETE", S1 + "algo/futures/order", "algo.futures.cancel", Action.CANCEL, "algo"),
    named("DELETE", S1 + "algo/spot/order", "algo.spot.cancel", Action.CANCEL, "algo"),
    named("POST", S1 + "convert/getQuote", "convert.quote", Action.PLACE, "convert", 200),
    named("POST", S1 + "convert/acceptQuote", "convert.accept", Action.PLACE, "convert", 500),
    named("POST", S1 + "convert/limit/placeOrder", "convert.limit.place", Action.PLACE, "convert", 500),
    named("POST", S1 + "convert/limit/cancelOrder", "convert.limit.cancel", Action.CANCEL, "convert", 200),
    named("POST", S1 + "asset/dust", "wallet.dust.convert", Action.PLACE, "convert", 10),
    named("POST", S1 + "asset/dust-convert/convert", "wallet.dust.convert", Action.PLACE, "convert", 10),
    named("POST", S1 + "asset/dust-btc", "wallet.dust.list", Action.READ, "convert"),
    named(
        "POST",
        S1 + "account/disableFastWithdrawSwitch",
        "wallet.fast_withdraw.off",
        Action.SETTING,
        "setting",
    ),
    # Turning it on prepares a withdrawal to another customer of the venue.
    named(
        "POST",
        S1 + "account/enableFastWithdrawSwitch",
        "wallet.fast_withdraw.on",
        Action.WITHDRAW,
        "withdraw",
    ),
    named("GET", S1 + "capital/deposit/address", "wallet.deposit.address", Action.READ, "deposit"),
    named("GET", S1 + "capital/deposit/address/list", "wallet.deposit.addresses", Action.READ, "deposit"),
)
