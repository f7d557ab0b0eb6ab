#!/usr/bin/env python
from marsys_dashboard.manage import main

if __name__ == "__main__":
    main()
