#!/usr/bin/env python
# coding: utf-8

# # Bike demand, first experiments
# 
# Comparing a plain linear model with a small network. Data: two years of (made up) daily counts.

# In[1]:


import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


# In[2]:


np.random.seed(0)
torch.manual_seed(0)


# In[3]:


data = np.load('bikes.npz')
X = data['X']
y = data['y']
X.shape, y.shape


# In[4]:


list(data['columns'])


# In[5]:


X[:3]


# ## Train / test
# 
# Days are not shuffled by time here, just a random 75/25.

# In[6]:


perm = np.random.permutation(len(X))
cut = int(len(X) * 0.75)
train_idx = perm[:cut]
test_idx = perm[cut:]

X_train, y_train = X[train_idx], y[train_idx]
X_test, y_test = X[test_idx], y[test_idx]


# In[7]:


X_mean = X_train.mean(0)
X_std = X_train.std(0)
y_mean = y_train.mean()
y_std = y_train.std()

X_train = (X_train - X_mean) / X_std
X_test = (X_test - X_mean) / X_std
y_train = (y_train - y_mean) / y_std
y_test = (y_test - y_mean) / y_std


# In[8]:


X_train = torch.FloatTensor(X_train)
X_test = torch.FloatTensor(X_test)
y_train = torch.FloatTensor(y_train).view(-1, 1)
y_test = torch.FloatTensor(y_test).view(-1, 1)
print(X_train.shape, X_test.shape)


# ## Model 1: linear

# In[9]:


model1 = nn.Linear(X_train.shape[1], 1)
opt1 = torch.optim.SGD(model1.parameters(), lr=0.1)

losses1 = []
for i in range(100):
    pred = model1(X_train)
    loss = F.mse_loss(pred, y_train)
    opt1.zero_grad()
    loss.backward()
    opt1.step()
    losses1.append(loss.item())
    if i % 20 == 0:
        print(i, loss.item())


# In[10]:


with torch.no_grad():
    pred = model1(X_test)
    print('test mse', F.mse_loss(pred, y_test).item())
    print('test mae (bikes)', (pred - y_test).abs().mean().item() * y_std)


# ## Model 2: network

# In[11]:


model2 = nn.Sequential(
    nn.Linear(X_train.shape[1], 50),
    nn.BatchNorm1d(50),
    nn.ReLU(),
    nn.Dropout(0.2),
    nn.Linear(50, 50),
    nn.ReLU(),
    nn.Linear(50, 1),
)
model2


# In[12]:


opt2 = torch.optim.Adam(model2.parameters(), lr=0.01)

losses2 = []
test_losses2 = []
for i in range(200):
    model2.train()
    pred = model2(X_train)
    loss = F.mse_loss(pred, y_train)
    opt2.zero_grad()
    loss.backward()
    opt2.step()
    losses2.append(loss.item())
    model2.eval()
    with torch.no_grad():
        test_losses2.append(F.mse_loss(model2(X_test), y_test).item())
    if i % 20 == 0:
        print(i, losses2[-1], test_losses2[-1])


# In[13]:


model2.eval()
with torch.no_grad():
    pred = model2(X_test)
    print('test mse', F.mse_loss(pred, y_test).item())
    print('test mae (bikes)', (pred - y_test).abs().mean().item() * y_std)


# ## Model 3: same, but minibatches

# In[14]:


model3 = nn.Sequential(
    nn.Linear(X_train.shape[1], 50),
    nn.BatchNorm1d(50),
    nn.ReLU(),
    nn.Dropout(0.2),
    nn.Linear(50, 50),
    nn.ReLU(),
    nn.Linear(50, 1),
)
opt3 = torch.optim.Adam(model3.parameters(), lr=0.003)


# In[15]:


losses3 = []
for epoch in range(30):
    model3.train()
    idx = torch.randperm(len(X_train))
    ep = 0
    batches = idx.split(64)
    for b in batches:
        pred = model3(X_train[b])
        loss = F.mse_loss(pred, y_train[b])
        opt3.zero_grad()
        loss.backward()
        opt3.step()
        ep += loss.item()
    losses3.append(ep / len(batches))
    if epoch % 5 == 0:
        print(epoch, losses3[-1])


# In[16]:


model3.eval()
with torch.no_grad():
    pred = model3(X_test)
    print('test mse', F.mse_loss(pred, y_test).item())
    print('test mae (bikes)', (pred - y_test).abs().mean().item() * y_std)


# In[17]:


# a few predictions by eye
for p, t in zip(pred[:8], y_test[:8]):
    print('%6.0f  %6.0f' % (p.item() * y_std + y_mean, t.item() * y_std + y_mean))


# In[ ]:




