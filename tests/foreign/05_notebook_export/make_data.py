import numpy as np

rs = np.random.RandomState(11)
n = 731
day = np.arange(n)
season = np.sin(2 * np.pi * (day % 365) / 365 - 1.6)
temp = 12 + 11 * season + rs.randn(n) * 3.5
humid = np.clip(60 - 8 * season + rs.randn(n) * 14, 15, 100)
wind = np.abs(rs.randn(n) * 6 + 13)
weekend = (day % 7 >= 5).astype(float)
rain = np.clip(rs.exponential(3, n) - 3, 0, None)
y = 2500 + 170 * temp - 4.5 * np.clip(temp - 22, 0, None) ** 2 * 6 - 12 * humid - 25 * wind
y = y - 260 * np.minimum(rain, 6) - 500 * weekend * (temp < 10) + 900 * weekend * (temp > 18) + 1.2 * day
y = np.clip(y + rs.randn(n) * 260, 20, None).round()
X = np.stack([temp, humid, wind, weekend, rain, day.astype(float)], 1)
np.savez_compressed('bikes.npz', X=X, y=y,
                    columns=np.array(['temp', 'humidity', 'wind', 'weekend', 'rain', 'day']))
