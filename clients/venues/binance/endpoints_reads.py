"""Reads of `/sapi` that bots and their libraries make beside trading: histories, products, rates, limits.

Rules:
1. A GET stands here only if it changes nothing, makes nothing and shows no secret and no other account. Deposit
   addresses (asked for, they are made), listen keys, gift card codes, download links, and what shows sub-accounts or
   a broker's customers stay out: unknown, so refused.
2. They are in the groups `wallet-read` and `margin-read`, so that whoever may read all of an account may read these.
3. Parameters are passed on as they are, once the form reads one way: none of them can make a read a write.
4. Weights and what they are counted against are those of ccxt 4.5.90, which writes 0.1 for one of an address and
   0.006667 for one of an account. Our fact sheet confirms none of them. Where both readings fit, the address counts.

Source: the GET paths of `/sapi` in ccxt 4.5.90 (its table of the venue's API), read 2026-11-28.
"""

from clients.venue import Action, Security
from clients.venues.binance.endpoint import Endpoint, Pool

_IP = """
wallet-read
spot/delist-schedule 100
bnbBurn 1
asset/custody/transfer-history 60
fiat/payments 1
convert/assetInfo 100
convert/exchangeInfo 500
c2c/orderMatch/listUserOrderHistory 1
copyTrading/futures/userStatus 20
copyTrading/futures/leadSymbol 20
futures/transfer 10
algo/futures/openOrders 1
algo/futures/historicalOrders 1
algo/futures/subOrders 1
algo/spot/openOrders 1
algo/spot/historicalOrders 1
algo/spot/subOrders 1
simple-earn/account 150
simple-earn/flexible/list 150
simple-earn/flexible/position 150
simple-earn/flexible/personalLeftQuota 150
simple-earn/flexible/subscriptionPreview 150
simple-earn/flexible/history/collateralRecord 1
simple-earn/flexible/history/rateHistory 150
simple-earn/flexible/history/redemptionRecord 150
simple-earn/flexible/history/rewardsRecord 150
simple-earn/flexible/history/subscriptionRecord 150
simple-earn/locked/list 150
simple-earn/locked/position 150
simple-earn/locked/personalLeftQuota 150
simple-earn/locked/subscriptionPreview 150
simple-earn/locked/history/redemptionRecord 150
simple-earn/locked/history/rewardsRecord 150
simple-earn/locked/history/subscriptionRecord 150
eth-staking/account 150
v2/eth-staking/account 150
eth-staking/eth/quota 150
eth-staking/eth/history/rateHistory 150
eth-staking/eth/history/redemptionHistory 150
eth-staking/eth/history/rewardsHistory 150
eth-staking/eth/history/stakingHistory 150
eth-staking/eth/history/wbethRewardsHistory 150
eth-staking/wbeth/history/unwrapHistory 150
eth-staking/wbeth/history/wrapHistory 150
sol-staking/account 150
sol-staking/sol/quota 150
sol-staking/sol/history/bnsolRewardsHistory 150
sol-staking/sol/history/rateHistory 150
sol-staking/sol/history/redemptionHistory 150
sol-staking/sol/history/stakingHistory 150
staking/productList 1
staking/position 1
staking/personalLeftQuota 1
staking/stakingRecord 1
lending/union/account 1
lending/union/interestHistory 1
lending/union/purchaseRecord 1
lending/union/redemptionRecord 1
lending/daily/product/list 1
lending/daily/token/position 1
lending/daily/userLeftQuota 1
lending/daily/userRedemptionQuota 1
lending/project/list 1
lending/project/position/list 1
lending/auto-invest/all/asset 1
lending/auto-invest/history/list 1
lending/auto-invest/index/info 1
lending/auto-invest/index/user-summary 1
lending/auto-invest/one-off/status 1
lending/auto-invest/plan/id 1
lending/auto-invest/plan/list 1
lending/auto-invest/rebalance/history 1
lending/auto-invest/redeem/history 1
lending/auto-invest/source-asset/list 1
lending/auto-invest/target-asset/list 1
lending/auto-invest/target-asset/roi/list 1
dci/product/list 1
dci/product/positions 1
dci/product/accounts 1
accumulator/product/list 1
accumulator/product/position/list 1
accumulator/product/sum-holding 1
blvt/tokenInfo 1
blvt/subscribe/record 1
blvt/redeem/record 1
blvt/userLimit 1
bswap/pools 1
bswap/liquidity 1
mining/pub/algoList 1
mining/pub/coinList 1
mining/payment/list 5
mining/payment/uid 5
mining/statistics/user/list 5
mining/statistics/user/status 5
mining/worker/detail 5
mining/worker/list 5
loan/borrow/history 400
loan/repay/history 400
loan/ltv/adjustment/history 400
loan/ongoing/orders 400
loan/loanable/data 400
loan/collateral/data 400
loan/repay/collateral/rate 6000
loan/flexible/borrow/history 400
loan/flexible/repay/history 400
loan/flexible/ltv/adjustment/history 400
loan/flexible/ongoing/orders 300
v2/loan/flexible/borrow/history 400
v2/loan/flexible/repay/history 400
v2/loan/flexible/ltv/adjustment/history 400
v2/loan/flexible/ongoing/orders 300
v2/loan/flexible/loanable/data 400
v2/loan/flexible/collateral/data 400
loan/vip/ongoing/orders 400
loan/vip/repay/history 400
loan/vip/loanable/data 400
loan/vip/collateral/data 400
loan/vip/collateral/account 6000
portfolio/account 1
v2/portfolio/account 20
portfolio/asset-index-price 1
portfolio/balance 20
portfolio/collateralRate 50
portfolio/delta-mode 1500
portfolio/earn-asset-balance 1500
portfolio/margin-asset-leverage 50
portfolio/margin-call-level 1500
portfolio/negative-balance-exchange-record 20
portfolio/pmloan-history 50
portfolio/repay-futures-switch 30
margin-read
margin/asset 10
margin/pair 10
margin/isolated/pair 10
margin/borrow-repay 10
margin/loan 10
margin/repay 10
margin/transfer 1
margin/isolated/transfer 1
margin/interestHistory 1
margin/interestRateHistory 1
margin/forceLiquidationRec 1
margin/maxBorrowable 50
margin/maxTransferable 50
margin/tradeCoeff 10
margin/orderList 10
margin/allOrderList 200
margin/openOrderList 10
margin/isolated/accountLimit 1
margin/crossMarginData 5
margin/isolatedMarginData 10
margin/isolatedMarginTier 1
margin/crossMarginCollateralRatio 100
margin/leverageBracket 1
margin/capital-flow 100
margin/delist-schedule 100
margin/dribblet 1
margin/rateLimit/order 20
"""

_UID = """
wallet-read
asset/convert-transfer/queryByPage 5
asset/ledger-transfer/cloud-mining/queryByPage 600
fiat/orders 90000
rebate/taxQuery 12000
pay/transactions 3000
capital/contract/convertible-coins 600
convert/tradeFlow 3000
convert/orderStatus 100
convert/limit/queryOpenOrders 3000
nft/history/deposit 3000
nft/history/transactions 3000
nft/history/withdraw 3000
nft/user/getAsset 3000
bswap/liquidityOps 3000
bswap/swap 3000
bswap/claimedHistory 1000
bswap/unclaimedRewards 1000
bswap/poolConfigure 150
loan/income 6000
loan/vip/request/data 400
loan/vip/request/interestRate 400
portfolio/interest-history 100
portfolio/pmLoan 500
margin-read
margin/dust 3000
margin/exchange-small-liability 100
margin/exchange-small-liability-history 100
margin/next-hourly-interest-rate 100
margin/available-inventory 50
"""


def _reads(text: str, pool: Pool) -> list[Endpoint]:
    """Read one table: a group on a line of its own, then its paths with weights; `v1` unless it says otherwise."""
    rows, group = [], ""
    for line in text.split("\n"):
        path, _, weight = line.partition(" ")
        if not weight:
            group = path or group
            continue
        version, _, rest = path.partition("/")
        if version not in {"v2", "v3"}:
            version, rest = "v1", path
        name = "sapi." + rest.replace("/", ".") + ("" if version == "v1" else f".{version}")
        rows.append(
            Endpoint(
                "GET", f"/sapi/{version}/{rest}", name, Action.READ, group, Security.SIGNED, int(weight), pool
            )
        )
    return rows


MORE_READS = (*_reads(_IP, "sapi-ip"), *_reads(_UID, "sapi-uid"))
