"""The engine that decides who gets what: addresses and patterns, subscriptions and plans, ticks and receipts,
history and cursors, the roster of listeners. Standard library only and pure: no event loop, socket, clock or
chance lives here, all are passed in. It imports nothing else of the project; begin reading at `router`.
"""
